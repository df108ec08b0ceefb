'use strict'

const net = require('net')
const { once } = require('events')

// Milliseconds between two tries to reach a store that is not up yet.
const RETRY = 500

// One connection: questions are answered in their order.
class Connection {
  constructor (socket) {
    this.socket = socket
    this.waiting = []
    let rest = ''
    socket.setEncoding('utf8')
    socket.on('data', text => {
      const lines = (rest + text).split('\r\n')
      rest = lines.pop()
      for (const line of lines) this.waiting.shift()?.resolve(line)
    })
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => {
      for (const { reject } of this.waiting.splice(0)) reject(new Error('the connection is closed'))
    })
  }

  // Resolves to the next line that nobody else waits for.
  line () {
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  }

  ask (text) {
    const answer = this.line()
    this.socket.write(text + '\r\n')
    return answer
  }
}

// A fixed number of connections, lent to one question at a time.
class Pool {
  constructor ({ port, size = 3, greeting = false, goodbye }) {
    Object.assign(this, { port, size, greeting, goodbye })
    this.all = []
    this.idle = []
    this.queue = []
  }

  // Resolves when all connections are made, however long the store takes to come up.
  async open () {
    while (this.all.length < this.size) {
      try {
        const socket = net.connect(this.port, '127.0.0.1')
        await once(socket, 'connect')
        const connection = new Connection(socket)
        if (this.greeting) await connection.line()
        this.all.push(connection)
        this.idle.push(connection)
      } catch (err) {
        console.error('cannot connect to port %d: %s', this.port, err.message)
        await new Promise(resolve => setTimeout(resolve, RETRY))
      }
    }
  }

  async query (text) {
    const connection = this.idle.pop() || await new Promise(resolve => this.queue.push(resolve))
    try {
      return await connection.ask(text)
    } finally {
      const next = this.queue.shift()
      next ? next(connection) : this.idle.push(connection)
    }
  }

  // Says goodbye on every connection; resolves when the store has closed them.
  async close () {
    await Promise.all(this.all.map(({ socket }) => {
      if (socket.destroyed) return null
      socket.write(this.goodbye + '\r\n')
      return once(socket, 'close')
    }))
  }
}

module.exports = Pool
