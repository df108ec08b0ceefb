// Listens to messages only after the first has come.
'use strict'
const server = require('http').createServer().listen(0, '127.0.0.1', () => {
  console.log('listening', server.address().port)
  setTimeout(() => {
    console.log('asks')
    process.on('message', (m) => {
      console.log('message', m)
      if (m === 'shutdown') {
        server.close()
        process.channel.unref()
      }
    })
  }, 300)
})
