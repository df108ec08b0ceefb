"""A server that takes its sockets from LISTEN_FDS (sd_listen_fds(3))."""

import os
import signal
import socket
import sys
import threading
from http.server import ThreadingHTTPServer

from app import Handler, say

FIRST = 3


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, fd):
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=fd)
        # Others accept on this socket too: what select has announced may be
        # gone, and then accept must not wait.
        self.socket.setblocking(False)


if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
    sys.exit("LISTEN_PID is not mine")
count = int(os.environ.pop("LISTEN_FDS", "0"))
if count < 1:
    sys.exit("no LISTEN_FDS")
servers = [Server(FIRST + i) for i in range(count)]
# Blocked in every thread, so that the main one can wait for it.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
for server in servers:
    threading.Thread(target=server.serve_forever).start()
say("listening")
signal.sigwait({signal.SIGINT})
for server in servers:
    server.shutdown()
say("draining")
for server in servers:
    server.server_close()
