'use strict'

const http = require('http')

const TIMEOUT = 5000

// Sends one request on a connection of its own; resolves to {status, body}, the body
// decoded.
exports.request = function request (method, url, body) {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body)
    const req = http.request(url, {
      method,
      agent: false,
      timeout: TIMEOUT,
      headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }
    }, res => exports.read(res).then(body => resolve({ status: res.statusCode, body }), reject))
    req.on('timeout', () => req.destroy(new Error(`no answer in ${TIMEOUT} ms`)))
    req.on('error', reject)
    req.end(text)
  })
}

// Reads a request or an answer to its end.
exports.read = async function read (stream) {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  return text ? JSON.parse(text) : undefined
}

exports.reply = function reply (res, status, body = {}) {
  res.writeHead(status, { 'Content-Type': 'application/json' })
  res.end(JSON.stringify(body) + '\n')
}

// A server of an async handler: an error is answered, not thrown.
exports.createServer = function createServer (handle) {
  return http.createServer((req, res) => {
    handle(req, res, new URL(req.url, 'http://localhost')).catch(err => {
      console.error('%s %s: %s', req.method, req.url, err.message)
      if (res.headersSent) res.destroy()
      else exports.reply(res, err.status || 500, { error: err.message })
    })
  })
}
