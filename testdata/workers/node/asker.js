// Asks the kernel, when it is asked by HTTP, for what a supervisor's filter looks at, as
// testdata/crash/asker does in Go, and tells with every answer how often its channel was
// disconnected: "ok, 0 disconnects".
const dgram = require('dgram')
const http = require('http')
const net = require('net')

let disconnects = 0
process.on('disconnect', () => disconnects++)

const ask = {
  '/dial' (port, done) {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' }, () => { socket.destroy(); done() })
    socket.on('error', done)
  },
  '/listen' (port, done) {
    const server = net.createServer().listen(port, '127.0.0.1', () => server.close(() => done()))
    server.on('error', done)
  },
  '/dgram' (port, done) {
    const socket = dgram.createSocket('udp4')
    socket.on('error', done)
    socket.send('hello', port, '127.0.0.1', err => { socket.close(); done(err) }) // which binds
  }
}

const server = http.createServer((req, res) => {
  const url = new URL(req.url, 'http://x')
  const done = err => {
    if (err) res.statusCode = 500
    res.end(err ? String(err) : `ok, ${disconnects} disconnects`)
  }
  if (!ask[url.pathname]) return done()
  process.send({ asked: url.pathname })
  ask[url.pathname](Number(url.searchParams.get('port')), done)
})
server.listen(process.env.PORT, process.env.HOST, () => process.send('ready'))
process.on('SIGINT', () => server.close(() => process.exit(0)))
