'use strict'

// Knows which services there are, and tells everybody who is connected whenever that
// changes. A service is there as long as its connection is.
//
//   to it     {kind: 'register', service: {id, name, host, port}}
//   from it   {kind: 'services', services: [...]}

const net = require('net')
const packets = require('./packets')

const connections = new Map() // socket -> the service behind it, or null

function tell (sockets) {
  const services = [...connections.values()].filter(Boolean)
  for (const socket of sockets) packets.write(socket, { kind: 'services', services })
}

const server = net.createServer(socket => {
  socket.setNoDelay(true)
  connections.set(socket, null)
  packets.read(socket, packet => {
    if (packet.kind !== 'register') return
    console.log('registered %s', packet.service.id)
    connections.set(socket, packet.service)
    tell(connections.keys())
  })
  socket.on('error', () => {}) // 'close' follows
  socket.on('close', () => {
    const service = connections.get(socket)
    connections.delete(socket)
    if (!service) return
    console.log('gone %s', service.id)
    tell(connections.keys())
  })
  tell([socket])
})

// A successor is there; everybody comes back to it in 3 s and says again who he is.
process.on('SIGINT', () => {
  server.close(() => process.exit(0))
  for (const socket of connections.keys()) {
    connections.set(socket, null) // nobody is told of what ends now
    socket.destroySoon()
  }
})

server.listen(Number(process.env.PORT) || 3401, '127.0.0.1', () => {
  console.log('listening on %d', server.address().port)
  process.send?.('ready')
})
