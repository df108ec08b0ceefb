'use strict'

const createApp = require('./app')
const DrainingServer = require('./draining-server')

const app = createApp(() => ({
  pid: process.pid,
  leaving: server.left !== null,
  connections: server.open.size,
  busy: server.busy
}))

const server = new DrainingServer(app, {
  shutdownTimeout: Number(process.env.SHUTDOWN_TIMEOUT) || undefined
})

async function leave (why, code) {
  console.log('%s: leaving, %d connections, %d busy', why, server.open.size, server.busy)
  const cut = await server.leave()
  console.log('left, %d connections cut', cut)
  process.exit(cut > 0 ? 1 : code)
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => leave(signal, 0))

process.on('uncaughtException', err => {
  console.error(err)
  leave('uncaught exception', 1)
})

server.on('clientError', (err, socket) => {
  if (err.code === 'ECONNRESET' || !socket.writable) return socket.destroy()
  socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
})

server.on('error', err => {
  console.error('cannot listen: %s', err.message)
  process.exit(1)
})

server.listen(Number(process.env.PORT) || 3100, () => {
  console.log('listening on %d, pid %d', server.address().port, process.pid)
})
