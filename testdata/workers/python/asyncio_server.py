"""asyncio on 0.0.0.0 and [::], the same port, which are two sockets.

Server.close() alone can lose requests: a connection that the loop has accepted
and not yet attached to the server fails an assertion in it (Server._attach in
Lib/asyncio/base_events.py). So the drain first stops to accept, then waits for
every task, then closes.
"""

import asyncio
import os
import signal
from urllib.parse import parse_qs, urlsplit


def say(line):
    print(line, flush=True)


async def handle(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ", 2)[1].decode()
        ms = int(parse_qs(urlsplit(target).query).get("ms", ["0"])[0])
        if ms:
            say("slow")
            await asyncio.sleep(ms / 1000)
        body = str(os.getpid()).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Pid: %s\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (body, len(body), body)
        )
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client left
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass


async def main():
    say("pid %d" % os.getpid())
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    server = await asyncio.start_server(handle, ["0.0.0.0", "::"], int(os.environ["PORT"]))
    say("listening")
    await stop.wait()
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    say("draining")
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)
    server.close()


asyncio.run(main())
