'use strict'

const numbers = new Map()

// As Redis does: commands of words, answers that begin with their type.
require('./line-server')('redis', Number(process.env.PORT) || 3302, {
  goodbye: 'QUIT',
  answer: line => {
    const [command, key] = line.split(' ')
    switch (command) {
      case 'PING':
        return '+PONG'
      case 'INCR':
        numbers.set(key, (numbers.get(key) || 0) + 1)
        return ':' + numbers.get(key)
      default:
        return `-ERR unknown command '${command}'`
    }
  }
})
