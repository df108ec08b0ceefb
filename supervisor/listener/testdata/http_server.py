# python's http.server, unmodified but for a SIGINT handler that drains.
import http.server, os, signal, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
# The thread that drains is there beforehand: a handler must not start one.
asked = threading.Event()
threading.Thread(target=lambda: asked.wait() and server.shutdown(), daemon=True).start()
signal.signal(signal.SIGINT, lambda *a: asked.set())
server.serve_forever(0.05)
server.server_close()
