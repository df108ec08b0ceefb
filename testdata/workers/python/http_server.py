"""http.server as its documentation has it, with a drain: shutdown() ends the
accept loop, and server_close() waits for the threads, which are no daemons."""

import signal
import threading
from http.server import ThreadingHTTPServer

from app import Handler, host, port, say


class Server(ThreadingHTTPServer):
    daemon_threads = False


def drain(signum, frame):
    # shutdown() waits for the loop that this handler interrupts.
    threading.Thread(target=server.shutdown).start()
    say("draining")


server = Server((host(), port()), Handler)
signal.signal(signal.SIGINT, drain)
say("listening")
server.serve_forever()
server.server_close()
