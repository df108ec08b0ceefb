'use strict'

// A packet is one JSON value and a NUL byte, which no JSON text contains.
const END = 0

// Longer packets end the connection.
const MAX_LENGTH = 1 << 20

exports.write = (socket, packet) => {
  if (socket.writable) socket.write(JSON.stringify(packet) + '\0')
}

// Calls each with every packet that arrives. What is no packet ends the connection.
exports.read = (socket, each) => {
  let parts = []
  let length = 0
  socket.on('data', bytes => {
    for (let end; (end = bytes.indexOf(END)) >= 0; bytes = bytes.subarray(end + 1)) {
      parts.push(bytes.subarray(0, end))
      const text = Buffer.concat(parts).toString()
      parts = []
      length = 0
      let packet
      try {
        packet = JSON.parse(text)
      } catch (err) {
        return socket.destroy(err)
      }
      each(packet)
    }
    parts.push(bytes)
    length += bytes.length
    if (length > MAX_LENGTH) socket.destroy(new Error('the packet is too long'))
  })
}
