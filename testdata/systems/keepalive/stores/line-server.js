'use strict'

const net = require('net')

// A TCP server that answers each line with a line: what the two stores have in common.
// It counts how its clients leave: by saying goodbye, or by just being gone.
module.exports = function serve (name, port, { greeting, answer, goodbye }) {
  const counts = { open: 0, goodbyes: 0, lost: 0, queries: 0 }
  const server = net.createServer(socket => {
    let rest = ''
    let polite = false
    counts.open++
    socket.setEncoding('utf8')
    if (greeting) socket.write(greeting + '\r\n')
    socket.on('data', text => {
      const lines = (rest + text).split('\r\n')
      rest = lines.pop()
      for (const line of lines) {
        if (line === goodbye) {
          polite = true
          socket.end()
        } else if (line === 'COUNTS') {
          socket.write(JSON.stringify(counts) + '\r\n')
        } else {
          counts.queries++
          socket.write(answer(line) + '\r\n')
        }
      }
    })
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => {
      counts.open--
      polite ? counts.goodbyes++ : counts.lost++
    })
  })
  server.listen(port, '127.0.0.1', () => {
    console.log('%s listens on %d', name, port)
    process.send?.('ready')
  })
  process.on('SIGINT', () => process.exit(0))
}
