"""Python's own HTTP servers, as upstreams: `http_server.py 1.0|1.1|asyncio`. Prints "port N"; tells what it got."""

import asyncio
import hashlib
import http.server
import sys


def told(method, path, body):
    return f"{method} {path} {len(body)} {hashlib.sha256(body).hexdigest()[:16]}".encode()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        if self.headers.get("Transfer-Encoding"):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = told(self.command, self.path, body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass


async def by_streams():
    """One request a connection, the answer up to its end, as small services do it."""

    async def one(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split(" ", 2)
        length = [int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")]
        body = await reader.readexactly(length[0]) if length else b""
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        if method != "HEAD":
            for byte in told(method, path, body):
                writer.write(bytes([byte]))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if sys.argv[1] == "asyncio":
    asyncio.run(by_streams())
else:
    Handler.protocol_version = f"HTTP/{sys.argv[1]}"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print("port", server.server_port, flush=True)
    server.serve_forever()
