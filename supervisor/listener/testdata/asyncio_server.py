# asyncio without a host: 0.0.0.0 and [::] (for IPv6 alone), two sockets.
import asyncio, os, signal, sys

async def handle(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    body = str(os.getpid()).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()
    await writer.wait_closed()

async def main():
    server = await asyncio.start_server(handle, None, int(sys.argv[1]))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    await stop.wait()
    # Server.close() drops a connection that was accepted in the same turn of the
    # loop, so accepting ends first, and what was accepted is finished.
    for sock in server.sockets:
        asyncio.get_running_loop().remove_reader(sock.fileno())
    turns = 0
    while turns < 20:  # an accepted connection is between two tasks for some turns
        others = asyncio.all_tasks() - {asyncio.current_task()}
        turns = 0 if others else turns + 1
        if others:
            await asyncio.wait(others)
        await asyncio.sleep(0)
    server.close()

asyncio.run(main())
