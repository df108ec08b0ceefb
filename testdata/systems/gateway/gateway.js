'use strict'

// Answers HTTP by asking the services: METHOD /NAME/PATH goes to an instance of NAME.

const http = require('http')
const net = require('net')
const Registry = require('./registry')

const SERVICES = ['goods', 'users']

// How long an idle connection may still send a request after the signal.
const IDLE_GRACE = 500

const registry = new Registry(Number(process.env.DISTRIBUTOR_PORT) || 3401)
const connections = new Map() // socket -> its responses that are not finished
let leaving = false

function reply (res, status, body, by) {
  if (by) res.setHeader('X-Served-By', by)
  res.setHeader('X-Pid', process.pid)
  if (leaving) res.setHeader('Connection', 'close')
  res.writeHead(status, { 'Content-Type': 'application/json' })
  res.end(JSON.stringify(body))
}

async function read (req) {
  const chunks = []
  for await (const chunk of req) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  try {
    return text ? JSON.parse(text) : undefined
  } catch {
    throw Object.assign(new Error('the body is no JSON'), { status: 400 })
  }
}

const server = http.createServer(async (req, res) => {
  const responses = connections.get(req.socket)
  responses.add(res)
  res.on('close', () => {
    responses.delete(res)
    if (leaving) endIfIdle(req.socket)
  })
  try {
    const [name, ...path] = new URL(req.url, 'http://localhost').pathname.split('/').filter(Boolean)
    if (!SERVICES.includes(name)) return reply(res, 404, { error: `no service ${name}` })
    const answer = await registry.ask(name, { method: req.method, path, body: await read(req) })
    reply(res, answer.status, answer.body, answer.by)
  } catch (err) {
    reply(res, err.status || 500, { error: err.message })
  }
})

server.on('connection', socket => {
  connections.set(socket, new Set())
  socket.on('close', () => connections.delete(socket))
})

function endIfIdle (socket) {
  setTimeout(() => {
    if (connections.get(socket)?.size === 0) socket.destroySoon()
  }, IDLE_GRACE)
}

// The services are needed until the last request is answered.
function leave () {
  if (leaving) return
  leaving = true
  console.log('leaving')
  // Not http.Server's close(), which ends idle connections at once: some of them have
  // just sent a request.
  net.Server.prototype.close.call(server, () => {
    registry.close()
    process.exit(0)
  })
  for (const socket of connections.keys()) endIfIdle(socket)
}

process.on('SIGINT', leave)

server.on('error', err => {
  console.error('cannot listen: %s', err.message)
  process.exit(1)
})

registry.reach(SERVICES).then(() => {
  if (leaving) return
  server.listen(Number(process.env.PORT) || 3400, () => {
    console.log('listening on %d', server.address().port)
    process.send?.('ready')
  })
})
