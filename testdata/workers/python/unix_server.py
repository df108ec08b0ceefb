"""A server on the unix socket SOCKET_PATH. Like most, it unlinks the path
before it binds, and again when it closes."""

import os
import signal
import socketserver
import threading

from app import Handler, say

path = os.environ["SOCKET_PATH"]


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False


def drain(signum, frame):
    threading.Thread(target=server.shutdown).start()
    say("draining")


if os.path.exists(path):
    os.unlink(path)
server = Server(path, Handler)
signal.signal(signal.SIGINT, drain)
say("listening")
server.serve_forever()
server.server_close()
if os.path.exists(path):
    os.unlink(path)
