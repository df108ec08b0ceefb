// A cluster of its own. STAY: the primary passes the signal to its worker, when a
// request is in flight there, and says how it ended.
'use strict'
const cluster = require('cluster')
const http = require('http')

if (cluster.isPrimary) {
  const worker = cluster.fork()
  worker.on('listening', (address) => console.log('listening', address.port))
  worker.on('message', () => {
    console.log('slow')
    if (process.env.STAY) worker.process.kill('SIGINT')
    console.log('signalled')
  })
  worker.on('exit', (code, signal) => {
    console.log('worker ended', signal || code)
    process.exit(0)
  })
} else {
  http.createServer((req, res) => {
    process.send('slow')
    setTimeout(() => res.end('x'), 500)
  }).listen(0, '127.0.0.1')
}
