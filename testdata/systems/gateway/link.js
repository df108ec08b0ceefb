'use strict'

const net = require('net')
const { EventEmitter } = require('events')
const packets = require('./packets')

// Milliseconds from the end of a connection, or a refused one, to the next try.
const RECONNECT = 3000

// A connection to a server that may come and go. Emits 'up', 'packet' and 'down'; tries
// again every 3 s until close() is called.
class Link extends EventEmitter {
  constructor (port, host = '127.0.0.1') {
    super()
    this.port = port
    this.host = host
    this.closed = false
    this.#connect()
  }

  #connect () {
    this.socket = net.connect(this.port, this.host)
    this.socket.setNoDelay(true)
    this.socket.on('connect', () => this.emit('up'))
    packets.read(this.socket, packet => this.emit('packet', packet))
    this.socket.on('error', () => {}) // 'close' follows
    this.socket.on('close', () => {
      if (!this.closed) this.timer = setTimeout(() => this.#connect(), RECONNECT)
      this.emit('down')
    })
  }

  send (packet) {
    packets.write(this.socket, packet)
  }

  close () {
    this.closed = true
    clearTimeout(this.timer)
    this.socket.end()
  }
}

module.exports = Link
