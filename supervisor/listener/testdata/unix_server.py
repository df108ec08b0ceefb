# unlinks its path before bind and again at the end, as most servers do.
import http.server, os, signal, socketserver, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "unix"
    def log_message(self, *args):
        pass

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = False

path = sys.argv[1]
os.umask(int(sys.argv[2], 8) if len(sys.argv) > 2 else 0o22)
try:
    os.unlink(path)
except FileNotFoundError:
    pass
server = Server(path, Handler)
# The thread that drains is there beforehand: a handler must not start one.
asked = threading.Event()
threading.Thread(target=lambda: asked.wait() and server.shutdown(), daemon=True).start()
signal.signal(signal.SIGINT, lambda *a: asked.set())
server.serve_forever(0.05)
server.server_close()
os.unlink(path)
