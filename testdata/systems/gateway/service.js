'use strict'

const net = require('net')
const Link = require('./link')
const packets = require('./packets')

const DISTRIBUTOR_PORT = Number(process.env.DISTRIBUTOR_PORT) || 3401

// How long leaving may take.
const LEAVE_TIMEOUT = 8000

// Runs an instance of a service, on a port that the kernel chooses. handle answers a
// request {method, path, body} by a promise of {status, body}.
//
//   from it   {kind: 'hello'}       first of all: requests are welcome
//             {kind: 'goodbye'}     no more requests, please; those sent will be answered
//             {kind: 'answer', id, status, body}
//   to it     {kind: 'request', id, method, path, body}
//
// Told to go it says goodbye, answers what comes until everybody has gone, and ends.
module.exports = function runService (name, handle) {
  const id = `${name}-${process.env.NODE_APP_INSTANCE || 0}-${process.pid}`
  const connections = new Set()
  let leaving = false
  let distributor

  const server = net.createServer(socket => {
    socket.setNoDelay(true)
    connections.add(socket)
    packets.read(socket, packet => answer(socket, packet))
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => connections.delete(socket))
    packets.write(socket, { kind: leaving ? 'goodbye' : 'hello' })
  })

  async function answer (socket, { kind, id: request, ...what }) {
    if (kind !== 'request') return
    let result
    try {
      result = await handle(what)
    } catch (err) {
      if (!err.status) console.error(err)
      result = { status: err.status || 500, body: { error: err.status ? err.message : 'internal error' } }
    }
    packets.write(socket, { kind: 'answer', id: request, ...result })
  }

  function leave () {
    if (leaving) return
    leaving = true
    console.log('%s says goodbye to %d', id, connections.size)
    distributor?.close()
    server.close(() => process.exit(0))
    for (const socket of connections) packets.write(socket, { kind: 'goodbye' })
    setTimeout(() => {
      console.error('%s: %d are still connected', id, connections.size)
      process.exit(1)
    }, LEAVE_TIMEOUT).unref()
  }

  process.on('SIGINT', leave)

  server.listen(0, '127.0.0.1', () => {
    if (leaving) return
    const service = { id, name, host: '127.0.0.1', port: server.address().port }
    distributor = new Link(DISTRIBUTOR_PORT)
    distributor.on('up', () => distributor.send({ kind: 'register', service }))
    distributor.on('packet', ({ services = [] }) => {
      if (services.some(s => s.id === id)) process.send?.('ready') // again is no harm
    })
  })
}
