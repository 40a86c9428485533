// Node's own HTTP servers, as upstreams that tell what they read, in the lines of `recorder.py`: of HTTP/1.1, or with `h2c` of
// HTTP/2 in clear text.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";

let numbers = 0;
const say = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const head = (request) => {
  const number = numbers++;
  const line = `${request.method} ${request.url}`;
  say({ head: number, line });
  return [number, line];
};

const serve = (request, response) => {
  const [number, line] = head(request);
  const answer = () => {
    response.writeHead(200, { "content-length": line.length });
    response.end(request.method === "HEAD" ? "" : line);
  };
  const early = line.includes("/early");
  if (early) answer();
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    // A stream that was reset ends, too.
    if (request.aborted) return;
    say({ end: number, body: Buffer.concat(pieces).toString("hex") });
    if (!early) answer();
  });
  request.on("error", () => {});
};

const isHttp2 = process.argv[2] === "h2c";
const server = isHttp2 ? createHttp2Server(serve) : createServer(serve);

// It takes no body with an upgrade, and the socket is ours from here on.
server.on("upgrade", (request, socket, first) => {
  const [number, line] = head(request);
  say({ end: number, body: "" });
  socket.on("error", () => socket.destroy());
  if (line.includes("/refuse")) {
    socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${line.length}\r\n\r\n${line}`);
    return;
  }
  const key = request.headers["sec-websocket-key"] ?? "";
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
      `sec-websocket-accept: ${accept}\r\n\r\n`,
  );
  socket.write(first);
  socket.pipe(socket);
});

server.on("clientError", (error, socket) => {
  if (error.code !== "ECONNRESET") say({ fault: `${error.code}: ${error.message}` });
  socket.destroy();
});

server.keepAliveTimeout = 3600_000;
server.headersTimeout = 0;
server.requestTimeout = 0;
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
