// Node's HTTP/2 client: `http2_client.mjs URL PATH [CA]`. Many streams at once on one connection; prints JSON.
import http2 from 'node:http2';
import fs from 'node:fs';

const [, , url, path, ca] = process.argv;
const session = http2.connect(url, ca ? { ca: fs.readFileSync(ca), servername: 'gateway.test' } : {});
session.on('error', (error) => { console.log(JSON.stringify({ error: String(error) })); process.exit(1); });

function call(method, target, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': method, ':path': target, ':authority': 'gateway.test' }, { endStream: body === undefined });
    let status; let text = '';
    stream.setEncoding('utf8');
    stream.on('response', (headers) => { status = headers[':status']; });
    stream.on('data', (piece) => { text += piece; });
    stream.on('end', () => resolve({ status, text }));
    stream.on('error', reject);
    if (body !== undefined) stream.end(body);
  });
}

const many = await Promise.all(Array.from({ length: 80 }, (_, n) =>
  n % 2 ? call('GET', `${path}/${n}`) : call('POST', `${path}/${n}`, 'x'.repeat(n * 1000))));
const good = many.filter(({ status, text }, n) => {
  const { method, target, body } = JSON.parse(text);
  return status === 200 && target === `${path}/${n}` && method === (n % 2 ? 'GET' : 'POST') && body.length === (n % 2 ? 0 : n * 1000);
}).length;
const refused = await call('GET', '/v3/x');
console.log(JSON.stringify({ good, refused: refused.status, alpn: session.alpnProtocol }));
session.close();
