// Helps a Node program to drain when supervisor stops it. It is loaded before the
// program by NODE_OPTIONS=--require, so also into npm, into every node child and
// into every worker thread, and it must be inert there:
//
//   - before the stop signal it does nothing but notice the first listen(). Only
//     then it waits for the signal, by a listener on process that is hidden from
//     the program. A process that never listens is left entirely alone.
//   - it uses nothing newer than ES2019, and survives that what it needs is missing:
//     a program must never fail because of it.
//
// From the stop signal (or message) on:
//
//   - every HTTP/1 response says Connection: close, HTTP/2 sessions get a GOAWAY;
//   - connections that are idle are ended after they were quiet for a second and
//     not at once: a request that is on its way when an idle connection is closed
//     is a reset for its client;
//   - a program that has no handler for the signal stops accepting, finishes what
//     is in flight and exits 0. The handler of a program that has one runs as written.
//
// SUPERVISOR_NODE_DRAIN is the stop signal's name, and ",shutdown" after it if the
// message is used.
'use strict'

// What a program may replace (fake timers), kept as it was.
const { setTimeout, setInterval, clearInterval, Reflect, WeakRef } = globalThis
const now = () => process.uptime() * 1000

const GRACE = 1000 // ms that an idle connection has for one more request
const STALLED = 5 * GRACE // the same in the middle of a request's head, or of a handshake
const TICK = GRACE / 4
const SHUTDOWN = 'shutdown' // the message
const MARK = Symbol.for('supervisor.preload') // an older release of this file is loaded too

const words = String(process.env.SUPERVISOR_NODE_DRAIN || '').split(',')
const signal = words[0]
const byMessage = words.indexOf(SHUTDOWN) > 0

let installed = false
let began = -1 // when the drain began
let alone = false // the program has no handler of its own: we end it

// Refs holds objects as long as somebody else does.
class Refs {
  constructor () { this.refs = new Set(); this.limit = 64 }

  add (object) {
    if (this.refs.size >= this.limit) {
      for (const ref of this.refs) if (!ref.deref()) this.refs.delete(ref)
      this.limit = 64 + 2 * this.refs.size
    }
    this.refs.add(new WeakRef(object))
  }

  all () {
    const found = new Set()
    for (const ref of this.refs) {
      const object = ref.deref()
      if (object) found.add(object)
    }
    return Array.from(found)
  }
}

let servers, sessions, fastifies

// replace puts a method of ours where one was, with the same name and attributes.
function replace (object, name, make) {
  const old = object[name]
  if (typeof old !== 'function') return
  const method = make(old)
  Object.defineProperty(method, 'name', { value: old.name, configurable: true })
  Object.defineProperty(method, 'length', { value: old.length, configurable: true })
  const own = Object.getOwnPropertyDescriptor(object, name)
  Object.defineProperty(object, name, {
    value: method, writable: true, configurable: true, enumerable: own ? own.enumerable : false
  })
}

const call = (f, that, args) => Reflect.apply(f, that, args)

// prepare is all that happens in a process that never listens.
function prepare () {
  const proto = require('net').Server.prototype
  if (proto.listen[MARK]) return
  servers = new Refs()
  sessions = new Refs()
  fastifies = new Refs()
  replace(proto, 'listen', (old) => {
    const method = { listen () { watch(this); return call(old, this, arguments) } }.listen
    Object.defineProperty(method, MARK, { value: true })
    return method
  })
  // Fastify tells of each of its servers on this channel, when it is loaded.
  const channel = require('diagnostics_channel').channel('fastify.initialization')
  channel.subscribe((message) => { if (message && message.fastify) fastifies.add(message.fastify) })
  Object.defineProperty(prepare, 'channel', { value: channel }) // Node holds it weakly
}

// watch is called for every listen().
function watch (server) {
  try {
    if (!installed) {
      installed = true
      if (require('worker_threads').isMainThread) install()
    }
    servers.add(server)
    // What an HTTP/2 server has and no other.
    if (typeof server.updateSettings === 'function') {
      server.on('session', (session) => {
        sessions.add(session)
        if (began >= 0) retire(session, true)
      })
    }
  } catch (err) { /* the program goes on as if we were not there */ }
}

// ---- the hidden listener

let deep = 0 // inside a removal: Node itself counts, to know whether it needs the signal
let listening = false // onSignal is on process

const real = {}

function count () {
  const all = call(real.listenerCount, process, [signal])
  return listening ? all - 1 : all
}

function hide () {
  const names = ['listeners', 'rawListeners', 'listenerCount', 'eventNames', 'removeListener', 'removeAllListeners', 'prependListener', 'kill']
  for (const name of names) real[name] = process[name]
  const without = (old) => function (type) {
    const all = call(old, this, arguments)
    return this === process && type === signal ? all.filter((f) => f !== onSignal) : all
  }
  replace(process, 'listeners', without)
  replace(process, 'rawListeners', without)
  replace(process, 'listenerCount', (old) => function (type, listener) {
    const all = call(old, this, arguments)
    if (this !== process) return all
    // So Node asks for every message, and keeps it when nobody listens.
    if (byMessage && type === 'message' && all === 0) process.nextTick(lookForMessage)
    return type === signal && listening && deep === 0 && !listener ? all - 1 : all
  })
  replace(process, 'eventNames', (old) => function () {
    const all = call(old, this, arguments)
    return this === process && count() === 0 ? all.filter((name) => name !== signal) : all
  })
  const removal = (old) => function () {
    deep++
    try { return call(old, this, arguments) } finally { deep-- }
  }
  replace(process, 'removeListener', removal)
  replace(process, 'off', removal)
  replace(process, 'removeAllListeners', (old) => function (type) {
    if (this !== process || (arguments.length > 0 && type !== signal)) return call(old, this, arguments)
    if (arguments.length > 0) { // one by one, so that the signal never has its default in between
      for (const f of this.rawListeners(signal).reverse()) this.removeListener(signal, f)
      return this
    }
    call(removal(old), this, arguments)
    if (listening) call(real.prependListener, this, [signal, onSignal])
    return this
  })
}

function install () {
  hide()
  if (byMessage && process.channel) {
    lookForMessage()
    replace(process, 'emit', (old) => function (type, message) {
      if (this === process && type === 'message' && message === SHUTDOWN) begin(false)
      return call(old, this, arguments)
    })
  }
  if (signal in require('os').constants.signals) {
    call(real.prependListener, process, [signal, onSignal]) // throws for SIGKILL
    listening = true
  }
}

// lookForMessage begins the drain of a program that listens to no messages, when
// shutdown is among those that Node keeps for it. A listener of ours would consume
// them, and keep the process alive.
function lookForMessage () {
  const channel = process.channel
  const name = channel && Object.getOwnPropertySymbols(channel).find((s) => s.description === 'kPendingMessages')
  const kept = name && channel[name]
  if (Array.isArray(kept) && kept.some((entry) => entry && entry[1] === SHUTDOWN) && serving()) begin(true)
}

// giveWay takes us out and lets the signal do what it would have done.
function giveWay () {
  listening = false
  process.removeListener(signal, onSignal)
  call(real.kill, process, [process.pid, signal])
}

function onSignal (name, number) {
  const own = count()
  // The program's own process.emit, which nobody would have heard.
  if (own === 0 && typeof number !== 'number') return
  if (began >= 0) {
    // The same signal by two ways (npm passes it on, too) comes within moments.
    if (own === 0 && (!alone || now() - began > GRACE)) giveWay()
    return
  }
  if (own === 0 && (isPrimary() || !serving())) return giveWay()
  begin(own === 0)
}

// isPrimary says that the program is a cluster of its own: its workers listen.
function isPrimary () {
  const workers = require('cluster').workers
  return Boolean(workers) && Object.keys(workers).length > 0
}

const busy = (server) => Boolean(server._handle) || server._connections > 0
const serving = () => servers.all().some(busy)

// ---- the drain

function begin (toTheEnd) {
  if (began >= 0 || isPrimary()) return
  began = now()
  alone = toTheEnd
  try {
    announce()
    deferClose()
    for (const session of sessions.all()) retire(session)
    if (!alone) {
      holdFastify()
      ownKill()
    }
  } catch (err) { /* then connections end as they would without us */ }
  if (alone) finish()
}

// announce makes every HTTP/1 response that has not begun say that the connection ends.
function announce () {
  replace(require('http').ServerResponse.prototype, '_storeHeader', (old) => function () {
    if (this.statusCode === 101) return call(old, this, arguments)
    this.shouldKeepAlive = false
    const result = call(old, this, arguments)
    this._header = closing(String(this._header))
    this._last = true
    return result
  })
}

// closing rewrites a head in which the program itself has said something else.
function closing (head) {
  const given = /\r\nconnection:[ \t]*([^\r\n]*)/i.exec(head)
  if (given && /(^|,)\s*close\s*(,|$)/i.test(given[1])) return head
  head = head.replace(/\r\nkeep-alive:[^\r\n]*/i, '')
  if (!given) return head.replace('\r\n', '\r\nConnection: close\r\n')
  const options = given[1].split(',').map((word) => word.trim())
    .filter((word) => word !== '' && word.toLowerCase() !== 'keep-alive')
  return head.replace(given[0], () => '\r\nConnection: ' + options.concat('close').join(', '))
}

// deferClose makes the end of idle connections, which close() means since Node 19
// and which since Node 26 includes those that have sent nothing yet, a gentle one.
function deferClose () {
  const gentle = (old) => function () { if (!sweep(this)) defer(old, this, arguments) }
  replace(require('http').Server.prototype, 'closeIdleConnections', gentle)
  try {
    replace(require('https').Server.prototype, 'closeIdleConnections', gentle)
  } catch (err) { /* a Node without crypto */ }
  replace(require('net').Server.prototype, 'close', (old) => function () {
    sweep(this)
    return call(old, this, arguments)
  })
}

function defer (f, that, args) {
  const timer = setTimeout(() => call(f, that, args), GRACE)
  if (timer && timer.unref) timer.unref()
}

// connectionsOf returns Node's own list of a server's HTTP/1 connections.
function connectionsOf (server) {
  const name = Object.getOwnPropertySymbols(server).find((s) => s.description === 'http.server.connections')
  const list = name && server[name]
  return list && typeof list.all === 'function' && typeof list.idle === 'function' ? list : null
}

const swept = new WeakSet()

// sweep ends, from now on, each connection of an HTTP/1 server that was idle and
// quiet for GRACE. False: it can't be done.
function sweep (server) {
  if (swept.has(server)) return true
  const list = connectionsOf(server)
  if (!list) return false
  swept.add(server)
  const quiet = new WeakMap() // socket -> since when, at how many bytes
  const look = () => {
    const idle = new Set(list.idle())
    for (const parser of list.all()) {
      const socket = parser.socket
      if (!socket || socket.destroyed) continue
      const seen = quiet.get(socket)
      if (socket._httpMessage || parser.incoming) {
        quiet.delete(socket)
      } else if (!seen || seen.bytes !== socket.bytesRead) {
        quiet.set(socket, { at: now(), bytes: socket.bytesRead })
      } else if (now() - seen.at >= (idle.has(parser) || seen.bytes === 0 ? GRACE : STALLED)) {
        socket.destroySoon ? socket.destroySoon() : socket.destroy()
      }
    }
    if (!busy(server)) clearInterval(timer)
  }
  const timer = setInterval(look, TICK)
  timer.unref()
  look()
  return true
}

let sessionClose = null // what the program's session.close() was

// retire tells an HTTP/2 session by GOAWAY that it ends, and which streams are still
// answered; what comes after them its client may safely send again. The connection is
// ended only later: a reset would keep the client from reading that. (Not by a first
// GOAWAY that refuses nothing, RFC 9113, 6.8: Node ignores all streams after its own.)
function retire (session, fresh) {
  if (session.destroyed || session.closed) return
  if (!sessionClose) {
    let proto = Object.getPrototypeOf(session)
    while (proto && !Object.prototype.hasOwnProperty.call(proto, 'close')) proto = Object.getPrototypeOf(proto)
    if (!proto) return
    sessionClose = proto.close
    const server = session.type
    replace(proto, 'close', (old) => function () {
      if (this.type !== server || now() - began >= GRACE) return call(old, this, arguments)
      defer(old, this, arguments)
    })
  }
  let told = false
  const tell = () => {
    if (told || session.destroyed) return
    told = true
    session.goaway()
    // Not unref'd: Node reads no more from a session that has nothing to do, and what
    // does not read does not keep the process alive.
    setTimeout(() => call(sessionClose, session, []), GRACE)
  }
  if (!fresh) return tell()
  session.once('stream', tell) // it is here to ask
  defer(tell, null, [])
}

// holdFastify: from close() on, Fastify answers 503 on the connections it still has.
// It gets them when they have ended, and no new ones meanwhile.
function holdFastify () {
  for (const fastify of fastifies.all()) {
    fastify.onClose((instance, done) => {
      const port = portOf(fastify.server)
      const held = servers.all().filter((s) => s === fastify.server || (port && portOf(s) === port))
      // The handle only: close() on the server is Fastify's to call.
      for (const server of held) if (server._handle && sweep(server)) server._handle.close()
      const until = now() + GRACE + 2 * TICK
      const timer = setInterval(() => {
        if (now() < until && held.some((server) => server._connections > 0)) return
        clearInterval(timer)
        done()
      }, TICK / 10)
    })
  }
}

function portOf (server) {
  const address = server.listening && server.address()
  return address && typeof address === 'object' ? address.port : 0
}

// ownKill: libraries that only run hooks at exit (signal-exit) take their handlers
// away and send the signal again, to die as if they had not been there. A program
// that still listens then has no handler but them.
function ownKill () {
  replace(process, 'kill', (old) => function (pid, name) {
    const same = pid === process.pid && (name === signal || name === require('os').constants.signals[signal])
    if (!same || alone || count() > 0) return call(old, this, arguments)
    if (servers.all().some((server) => server._handle)) {
      alone = true
      finish()
    } else {
      giveWay() // it has closed them itself, and is done
    }
    return true
  })
}

// finish ends a program that has no handler: it stops accepting, and exits when the
// last connection is gone. What never ends, kill_timeout does.
function finish () {
  const close = require('net').Server.prototype.close
  let left = 1
  const gone = () => { if (--left === 0) process.exit(0) }
  for (const server of servers.all()) {
    if (!busy(server)) continue
    left++
    server.once('close', gone)
    if (server._handle) call(close, server, [])
    else sweep(server)
  }
  setTimeout(gone, 0)
}

if (signal && process.argv[1] && process._eval === undefined) {
  try { prepare() } catch (err) { /* a Node too old: the program runs without us */ }
}
