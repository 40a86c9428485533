"""HTTP parsers of others, as upstreams that tell what they read: `recorder.py h11|gunicorn|aiohttp|tornado|uvicorn`.

Prints "port N", then a line of JSON for each event: {"head": number, "line": "GET /x"} when a head was read, {"end":
number, "body": hex} when its body came to its end, {"fault": text} when what came cannot be read. A request is answered
with its own line. It ends when its standard input does.

`careless` is no parser of anybody: it believes only Content-Length, so that what comes in chunks is read as requests.
"""

import asyncio
import base64
import hashlib
import itertools
import json
import os
import signal
import socket
import sys
import threading

lock = threading.Lock()
numbers = itertools.count()


def say(**event):
    with lock:
        print(json.dumps(event), flush=True)


def head(method, target):
    number, line = next(numbers), f"{method} {target}"
    say(head=number, line=line)
    return number, line


def end(number, body):
    say(end=number, body=bytes(body).hex())


def end_with_stdin():
    def wait():
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def listen():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    return listener, listener.getsockname()[1]


async def serve_streams(one):
    async def guarded(reader, writer):
        try:
            await one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def by_h11(reader, writer):
    import h11

    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)

    def answer(line, method):
        fields = [("content-length", str(len(line)))]
        writer.write(connection.send(h11.Response(status_code=200, headers=fields)))
        if method != b"HEAD":
            writer.write(connection.send(h11.Data(data=line.encode("latin-1"))))
        writer.write(connection.send(h11.EndOfMessage()))

    async def tunnel(key):
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        fields = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", accept)]
        writer.write(connection.send(h11.InformationalResponse(status_code=101, headers=fields)))
        came = connection.trailing_data[0] or await reader.read(65536)
        while came:
            writer.write(came)
            came = await reader.read(65536)

    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            say(fault=str(error))
            return
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request, body = event, bytearray()
            number, line = head(event.method.decode(), event.target.decode("latin-1"))
            early = "/early" in line
            if early:
                answer(line, request.method)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            end(number, body)
            fields = dict(request.headers)
            if b"upgrade" in fields and "/refuse" not in line:
                return await tunnel(fields.get(b"sec-websocket-key", b""))
            if not early:
                answer(line, request.method)
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()
        else:
            return


async def carelessly(reader, writer):
    while True:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *fields = text.split("\r\n")
        number, line = head(*(first.split(" ") + [""])[:2])
        lengths = [int(field[15:]) for field in fields if field.lower().startswith("content-length:")]
        end(number, await reader.readexactly(lengths[0]) if lengths else b"")
        body = "" if line.startswith("HEAD ") else line
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(line)}\r\n\r\n{body}".encode("latin-1"))


def by_gunicorn():
    from gunicorn.app.base import BaseApplication

    def app(environ, start_response):
        number, line = head(environ["REQUEST_METHOD"], environ["RAW_URI"])
        body = environ["wsgi.input"].read()
        # A body that breaks off is no error to it: it is only shorter.
        if len(body) == int(environ.get("CONTENT_LENGTH") or len(body)):
            end(number, body)
        start_response("200 OK", [("Content-Length", str(len(line)))])
        return [b"" if line.startswith("HEAD ") else line.encode("latin-1")]

    class Application(BaseApplication):
        def load_config(self):
            for name, value in {
                "bind": "127.0.0.1:0",
                "workers": 1,
                "threads": 16,
                "keepalive": 3600,
                "timeout": 0,
                "graceful_timeout": 1,
                "loglevel": "critical",
                "when_ready": ready,
            }.items():
                self.cfg.set(name, value)

        def load(self):
            return app

    def ready(arbiter):
        print("port", arbiter.LISTENERS[0].sock.getsockname()[1], flush=True)

    Application().run()


async def by_aiohttp():
    from aiohttp import web

    async def one(request):
        number, line = head(request.method, request.raw_path)
        end(number, await request.read())
        # Its own answer to HEAD has no body.
        return web.Response(text=line)

    listener, port = listen()
    runner = web.ServerRunner(web.Server(one, keepalive_timeout=3600))
    await runner.setup()
    await web.SockSite(runner, listener).start()
    print("port", port, flush=True)
    await asyncio.Event().wait()


async def by_tornado():
    from tornado import httpserver, httputil

    class Request(httputil.HTTPMessageDelegate):
        def __init__(self, connection):
            self.connection = connection
            self.body = bytearray()

        def headers_received(self, start_line, headers):
            self.number, self.line = head(start_line.method, start_line.path)

        def data_received(self, chunk):
            self.body += chunk

        def finish(self):
            end(self.number, self.body)
            fields = httputil.HTTPHeaders({"Content-Length": str(len(self.line))})
            body = b"" if self.line.startswith("HEAD ") else self.line.encode("latin-1")
            self.connection.write_headers(httputil.ResponseStartLine("", 200, "OK"), fields, body)
            self.connection.finish()

    class Server(httpserver.HTTPServer):
        def start_request(self, _, connection):
            return Request(connection)

    server = Server(lambda _: None, idle_connection_timeout=3600)
    listener, port = listen()
    listener.setblocking(False)
    server.add_socket(listener)
    print("port", port, flush=True)
    await asyncio.Event().wait()


def by_uvicorn():
    import uvicorn

    async def app(scope, receive, send):
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        number, line = head(scope["method"], target)
        body, more = bytearray(), True
        while more:
            event = await receive()
            if event["type"] != "http.request":
                return
            body += event.get("body", b"")
            more = event.get("more_body", False)
        end(number, body)
        fields = [(b"content-length", str(len(line)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        text = b"" if line.startswith("HEAD ") else line.encode("latin-1")
        await send({"type": "http.response.body", "body": text})

    listener, port = listen()
    print("port", port, flush=True)
    settings = {"http": "httptools", "ws": "none", "lifespan": "off", "log_level": "critical"}
    uvicorn.Server(uvicorn.Config(app, timeout_keep_alive=3600, **settings)).run(sockets=[listener])


end_with_stdin()
kind = sys.argv[1]
if kind == "h11":
    asyncio.run(serve_streams(by_h11))
elif kind == "careless":
    asyncio.run(serve_streams(carelessly))
elif kind == "gunicorn":
    by_gunicorn()
elif kind == "aiohttp":
    asyncio.run(by_aiohttp())
elif kind == "tornado":
    asyncio.run(by_tornado())
elif kind == "uvicorn":
    by_uvicorn()
else:
    sys.exit(f"no such kind: {kind}")
