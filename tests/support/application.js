'use strict';
// The application that Node serves: node application.js HTTP-PORT HTTPS-PORT CERTIFICATE KEY IDLE-MILLISECONDS LARGE
// Framing, HTTP/1.0 and idle connections are left to Node.

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const zlib = require('node:zlib');

const [httpPort, httpsPort, certificate, key, idle, size] = process.argv.slice(2);
const LARGE = Buffer.alloc(Number(size), 'x');
const MODIFIED = 'Sun, 06 Nov 1994 08:49:37 GMT';

const answers = {
  '/': (request, response) => whole(response, 'hello'),
  '/204': (request, response) => response.writeHead(204).end(),
  '/refused': (request, response) => response.writeHead(403).end(),
  '/large': (request, response) => {
    response.setHeader('etag', '"large"').setHeader('last-modified', MODIFIED);
    const { 'if-none-match': tag, 'if-modified-since': since } = request.headers;
    if (tag === '"large"' || Date.parse(since) >= Date.parse(MODIFIED)) response.writeHead(304).end();
    else whole(response, LARGE);
  },
  '/chunked': (request, response) => {
    for (let at = 0; at < 300000; at += 1000) response.write('x'.repeat(1000));
    response.end();
  },
  '/text': (request, response) => {
    response.setHeader('content-type', 'text/plain');
    const text = 'hello'.repeat(10000);
    if (!/\bgzip\b/.test(request.headers['accept-encoding'])) return whole(response, text);
    return whole(response.setHeader('content-encoding', 'gzip'), zlib.gzipSync(text));
  },
  '/digest': (request, response) => {
    const digest = crypto.createHash('sha256');
    request.on('data', (piece) => digest.update(piece)).on('end', () => whole(response, digest.digest('hex')));
  },
};

function whole(response, body) {
  response.setHeader('content-length', Buffer.byteLength(body)).end(body);
}

function answer(request, response) {
  answers[request.url](request, response);
}

function answerExpectation(request, response) {
  if (request.url !== '/refused') response.writeContinue();
  answer(request, response);
}

const tls = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
for (const [server, port] of [[http.createServer(answer), httpPort], [https.createServer(tls, answer), httpsPort]]) {
  server.on('checkContinue', answerExpectation);
  server.keepAliveTimeout = Number(idle);
  server.listen(Number(port), '127.0.0.1');
}
