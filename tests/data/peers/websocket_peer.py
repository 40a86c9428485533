"""A WebSocket server and client of the `websockets` library.

    websocket_peer.py serve            prints "port N", echoes; `close` is answered with code 4001
    websocket_peer.py call PORT KEY    talks to it through PORT, prints lines of JSON
    websocket_peer.py wait PORT KEY    waits on an open connection until it is closed, prints why
"""

import asyncio
import json
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as listen


async def echo(socket):
    try:
        await talk(socket)
    except websockets.ConnectionClosed:
        pass


async def talk(socket):
    async for message in socket:
        if message == "close":
            await socket.close(4001, "as asked")
        elif message == "headers":
            names = ("apikey", "x-keygate-key-name", "x-forwarded-for", "origin")
            await socket.send(json.dumps({name: socket.request.headers.get(name) for name in names}))
        else:
            await socket.send(message)


async def serve():
    server = await listen(echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat.v2", "chat.v1"])
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()


def tell(**told):
    print(json.dumps(told), flush=True)


async def call(port, key):
    url = f"ws://127.0.0.1:{port}/v3/echo"
    headers = {"apikey": key}
    for compression in ("deflate", None):
        options = {"additional_headers": headers, "compression": compression, "max_size": None}
        async with connect(url, subprotocols=["chat.v1"], **options) as socket:
            await socket.send("hello")
            text = await socket.recv()
            large = bytes(range(256)) * 4096
            await socket.send(large)
            binary = await socket.recv() == large
            # Many before the first answer is read.
            for n in range(200):
                await socket.send(f"{n}")
            order = [await socket.recv() for _ in range(200)] == [f"{n}" for n in range(200)]
            await asyncio.wait_for(await socket.ping(), 10)
            tell(compression=compression, text=text, binary=binary, order=order, subprotocol=socket.subprotocol,
                 deflate=len(socket.protocol.extensions))
            await socket.send("headers")
            tell(headers=json.loads(await socket.recv()))
            await socket.send("close")
            try:
                await socket.recv()
            except websockets.ConnectionClosed as closed:
                tell(closed=closed.rcvd.code, reason=closed.rcvd.reason)
    for name, given, path in (("no key", {}, "/v3/echo"), ("no route", headers, "/nowhere")):
        try:
            async with connect(f"ws://127.0.0.1:{port}{path}", additional_headers=given):
                tell(refused=name, status=101)
        except websockets.InvalidStatus as error:
            tell(refused=name, status=error.response.status_code)
    # Many at once.
    async def one(n):
        async with connect(url, subprotocols=["chat.v2"], additional_headers=headers) as socket:
            await socket.send(f"socket {n}")
            return await socket.recv() == f"socket {n}"

    tell(many=sum(await asyncio.gather(*(one(n) for n in range(100)))))


async def wait(port, key):
    url = f"ws://127.0.0.1:{port}/v3/echo"
    async with connect(url, subprotocols=["chat.v2"], additional_headers={"apikey": key}) as socket:
        await socket.send("hello")
        tell(open=await socket.recv())
        try:
            await socket.recv()
        except websockets.ConnectionClosed as closed:
            tell(closed=closed.rcvd and closed.rcvd.code)


if sys.argv[1] == "serve":
    asyncio.run(serve())
elif sys.argv[1] == "wait":
    asyncio.run(wait(sys.argv[2], sys.argv[3]))
else:
    asyncio.run(call(sys.argv[2], sys.argv[3]))
