// One server in many kinds. KIND: http (default), https, h2, h2s, net, express,
// fastify, koa, terminus, terminator, stoppable. HANDLER: what it does on SIGINT:
// none (default), close, exit, twice, late, message. It serves LISTEN_FD, or a free
// port, and says "listening PORT".
'use strict'
const http = require('http')

const { KIND = 'http', HANDLER = 'none', LISTEN_FD, TLS_KEY, TLS_CERT } = process.env
const say = (...words) => process.stdout.write(words.join(' ') + '\n')

const proto = require('net').Server.prototype
const close = proto.close
proto.close = function () {
  say('closing')
  return close.apply(this, arguments)
}

function answer (req, res) {
  const url = new URL(req.url, 'http://x')
  const ms = Number(url.searchParams.get('ms') || 0)
  if (url.pathname === '/stubborn') res.setHeader('Connection', 'keep-alive')
  if (url.pathname === '/stream') {
    res.write('begun\n')
    say('streaming')
    setTimeout(() => res.end('done\n'), ms)
    return
  }
  if (ms) say('slow')
  const end = () => {
    const head = { 'X-Pid': process.pid, 'Content-Length': String(process.pid).length }
    res.writeHead(200, url.pathname === '/insist' ? Object.assign(head, { connection: 'Keep-Alive', 'Keep-Alive': 'timeout=5' }) : head)
    res.end(String(process.pid))
  }
  ms ? setTimeout(end, ms) : end()
}

const tls = { key: TLS_KEY, cert: TLS_CERT }

const kinds = {
  http: () => http.createServer(answer),
  https: () => require('https').createServer(tls, answer),
  h2: () => require('http2').createServer(answer),
  h2s: () => require('http2').createSecureServer({ ...tls, allowHTTP1: true }, answer),
  net: () => require('net').createServer((socket) => {
    socket.write('hello\n')
    socket.on('data', (data) => socket.write(data))
    socket.on('error', () => {})
  }),
  express: () => {
    const app = require('express')()
    app.get('/', (req, res) => res.set('X-Pid', String(process.pid)).send(String(process.pid)))
    return http.createServer(app)
  },
  koa: () => {
    const app = new (require('koa'))()
    app.use((ctx) => { ctx.set('X-Pid', String(process.pid)); ctx.body = String(process.pid) })
    return http.createServer(app.callback())
  }
}
for (const kind of ['terminus', 'terminator', 'stoppable']) kinds[kind] = kinds.http

function listen (server) {
  const place = LISTEN_FD ? { fd: Number(LISTEN_FD) } : { port: 0, host: '127.0.0.1' }
  server.listen(place, () => {
    say('listening', LISTEN_FD ? 0 : server.address().port)
    if (process.send) process.send('ready')
  })
}

function fastify () {
  const major = Number(process.versions.node.split('.')[0])
  const app = require(major < 20 ? 'fastify4' : 'fastify')()
  app.get('/', (req, reply) => reply.header('X-Pid', String(process.pid)).send(String(process.pid)))
  if (HANDLER === 'close') process.on('SIGINT', () => { app.close().then(() => process.exit(0)) })
  app.ready().then(() => listen(app.server))
}

function handle (server) {
  if (KIND === 'terminus') {
    return require('@godaddy/terminus').createTerminus(server, { signals: ['SIGINT'], timeout: 1000, onSignal: async () => say('onSignal') })
  }
  if (KIND === 'stoppable') {
    require('stoppable')(server, 1000)
    return process.on('SIGINT', () => server.stop(() => process.exit(0)))
  }
  if (KIND === 'terminator') {
    const terminator = require('http-terminator').createHttpTerminator({ server })
    return process.on('SIGINT', () => { terminator.terminate().then(() => process.exit(0)) })
  }
  const close = () => {
    say('handler', process.listenerCount('SIGINT'))
    server.close((err) => {
      say('closed', err || 'well')
      process.exit(0)
    })
  }
  switch (HANDLER) {
    case 'close': return process.on('SIGINT', close)
    case 'once': return process.once('SIGINT', () => say('once'))
    case 'exit': return process.on('SIGINT', () => process.exit(7))
    case 'twice': {
      let times = 0
      return process.on('SIGINT', () => { say('time', ++times); if (times === 2) process.exit(8) })
    }
    case 'signal-exit': return require('signal-exit').onExit((code, name) => { say('hook', name) })
    case 'message': return process.on('message', (m) => { if (m === 'shutdown') close() })
  }
}

if (KIND === 'fastify') {
  fastify()
} else {
  const server = kinds[KIND]()
  handle(server)
  listen(server)
}
