"""A server on the unix socket SOCKET_PATH. Like most, it unlinks the path
before it binds, and again when it closes."""

import os
import socketserver

from app import Handler, at_sigint, say

path = os.environ["SOCKET_PATH"]


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False


def drain():
    say("draining")
    server.shutdown()


if os.path.exists(path):
    os.unlink(path)
server = Server(path, Handler)
at_sigint(drain)
say("listening")
server.serve_forever()
server.server_close()
if os.path.exists(path):
    os.unlink(path)
