"""A server that dies at once of SIGINT: requests in flight are lost."""

import signal
from http.server import ThreadingHTTPServer

from app import Handler, host, port, say

signal.signal(signal.SIGINT, signal.SIG_DFL)
server = ThreadingHTTPServer((host(), port()), Handler)
say("listening")
server.serve_forever()
