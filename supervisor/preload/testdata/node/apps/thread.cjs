// A server in a thread, which gets no signals: they are the main thread's.
'use strict'
const { Worker, isMainThread, parentPort } = require('worker_threads')

if (isMainThread) {
  new Worker(__filename).on('message', (port) => console.log('listening', port))
} else {
  const server = require('http').createServer((req, res) => res.end('x'))
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
}
