'use strict'

const http = require('http')
const net = require('net')

// How long an idle connection may still send a request after the server began to
// leave: one that is on its way when its connection ends is lost to the client.
const IDLE_GRACE = 500

// How long leaving may take before what is left is cut.
const SHUTDOWN_TIMEOUT = 5000

// A server that knows its connections, and which of them are busy: those with a
// request that is not answered yet. leave() stops accepting, answers what is there
// with "Connection: close", ends what is idle, and lets the busy ones finish.
class DrainingServer extends http.Server {
  constructor (handler, { shutdownTimeout = SHUTDOWN_TIMEOUT, idleGrace = IDLE_GRACE } = {}) {
    super()
    this.shutdownTimeout = shutdownTimeout
    this.idleGrace = idleGrace
    this.open = new Map() // socket -> its responses that are not finished
    this.left = null // a promise, once the server leaves
    this.on('connection', socket => this.#opened(socket))
    this.on('request', (req, res) => this.#asked(req, res)) // before the handler
    this.on('request', handler)
  }

  get busy () {
    let n = 0
    for (const responses of this.open.values()) if (responses.size > 0) n++
    return n
  }

  #opened (socket) {
    this.open.set(socket, new Set())
    socket.once('close', () => this.open.delete(socket))
  }

  #asked (req, res) {
    const responses = this.open.get(req.socket)
    responses.add(res)
    if (this.left) res.setHeader('Connection', 'close')
    res.once('close', () => {
      responses.delete(res)
      // Its header may have promised keep-alive, so the client may use it again.
      if (this.left) this.#endIfIdle(req.socket, this.idleGrace)
    })
  }

  #endIfIdle (socket, grace) {
    setTimeout(() => {
      const responses = this.open.get(socket)
      if (responses && responses.size === 0) socket.destroySoon()
    }, grace)
  }

  // Resolves to the number of connections that were cut, as a rule 0.
  leave () {
    if (this.left) return this.left
    this.left = new Promise(resolve => {
      let cut = 0
      // http.Server's close() would end idle connections at once.
      net.Server.prototype.close.call(this, () => resolve(cut))
      for (const [socket, responses] of this.open) {
        for (const res of responses) if (!res.headersSent) res.setHeader('Connection', 'close')
        this.#endIfIdle(socket, this.idleGrace)
      }
      setTimeout(() => {
        cut = this.open.size
        for (const socket of this.open.keys()) socket.destroy()
      }, this.shutdownTimeout).unref()
    })
    return this.left
  }
}

module.exports = DrainingServer
