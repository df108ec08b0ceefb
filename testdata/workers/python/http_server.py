"""http.server as its documentation has it, with a drain: shutdown() ends the
accept loop, and server_close() waits for the threads, which are no daemons."""

from http.server import ThreadingHTTPServer

from app import Handler, at_sigint, host, port, say


class Server(ThreadingHTTPServer):
    daemon_threads = False


def drain():
    say("draining")
    server.shutdown()


server = Server((host(), port()), Handler)
at_sigint(drain)
say("listening")
server.serve_forever()
server.server_close()
