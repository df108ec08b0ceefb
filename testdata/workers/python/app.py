"""What the servers of this folder share: the answer to a request."""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit


def say(line):
    print(line, flush=True)


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the pid; /slow?ms=300 takes its time."""

    def do_GET(self):
        ms = int(parse_qs(urlsplit(self.path).query).get("ms", ["0"])[0])
        if ms:
            say("slow")
            time.sleep(ms / 1000)
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("X-Pid", str(os.getpid()))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *args):
        pass


def at_sigint(do):
    """Calls do at SIGINT, in a thread that is there beforehand. A handler that
    starts one may have interrupted threading itself in the main thread, and then
    the server's next thread never runs: its request hangs."""
    asked = threading.Event()

    def wait():
        asked.wait()
        do()

    threading.Thread(target=wait, daemon=True).start()
    signal.signal(signal.SIGINT, lambda signum, frame: asked.set())


def port():
    return int(os.environ["PORT"])


def host():
    return os.environ.get("HOST", "")


say("pid %d" % os.getpid())
sys.stderr.flush()
