// A program that never listens, or (PROBE) no longer, and only says so.
'use strict'
if (process.env.HANDLER) process.on('SIGINT', () => process.exit(5))
const say = () => {
  require('fs').writeSync(1, 'listening to nothing\n')
  while (process.env.BUSY);
}
setInterval(() => {}, 1000)
if (process.env.PROBE) {
  const probe = require('net').createServer().listen(0, '127.0.0.1', () => probe.close(say))
} else {
  say()
}
