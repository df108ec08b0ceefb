# binds and listens in a thread of a pool, accepts in the main one.
import concurrent.futures, os, socket, sys

def listen():
    s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=5)
    return s

with concurrent.futures.ThreadPoolExecutor() as pool:
    s = pool.submit(listen).result()
while True:
    c, _ = s.accept()
    c.recv(4096)
    c.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%d" % os.getpid())
    c.close()
