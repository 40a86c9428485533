// Node's HTTP/2 server as an upstream: `http2_server.mjs [CERT KEY]`, in clear text without them. Prints "port N".
import http2 from 'node:http2';
import fs from 'node:fs';

const [, , cert, key] = process.argv;
const server = cert
  ? http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) })
  : http2.createServer();
server.on('stream', (stream, headers) => {
  let bytes = 0;
  stream.on('data', (piece) => { bytes += piece.length; });
  stream.on('error', () => {});
  stream.on('end', () => {
    const target = headers[':path'];
    if (target.endsWith('/goaway')) {
      // The streams that are open end well; no new ones.
      stream.session.goaway(0);
    }
    stream.respond({ ':status': 200, 'content-type': 'text/plain' }, { waitForTrailers: target.endsWith('/trailers') });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trailer': 'sent' }));
    stream.end(`${headers[':method']} ${target} ${bytes}`);
  });
});
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
