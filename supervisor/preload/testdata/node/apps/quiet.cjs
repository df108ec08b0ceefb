// What a program can see of the preload before the signal: it prints what it sees
// of itself, which must be the same with the preload and without.
'use strict'
const { EventEmitter, once } = require('events')
const http = require('http')

const seen = []
const note = (what, value) => seen.push(what + ': ' + JSON.stringify(value))
const look = (when) => {
  note(when + ' count', process.listenerCount('SIGINT'))
  note(when + ' static count', EventEmitter.listenerCount(process, 'SIGINT'))
  note(when + ' listeners', process.listeners('SIGINT').length)
  note(when + ' raw', process.rawListeners('SIGINT').length)
  note(when + ' names', process.eventNames().map(String).filter((n) => /^SIG/.test(n)))
  note(when + ' message', process.listenerCount('message'))
}
const keys = () => Object.keys(process).concat(Object.keys(http.Server.prototype), Object.keys(require('net').Server.prototype)).sort().join()

look('before')
const listen = http.Server.prototype.listen
note('listen', [listen.name, listen.length])
const server = http.createServer((req, res) => res.end('x'))
server.listen(0, '127.0.0.1', () => {
  look('listening')
  note('server', server.eventNames().map((n) => [String(n), server.listenerCount(n)]))
  note('own', Object.keys(server).length)
  note('keys', keys())
  const f = () => {}
  process.on('SIGINT', f)
  look('on')
  note('of f', process.listeners('SIGINT')[0] === f)
  process.off('SIGINT', f)
  look('off')
  process.once('SIGINT', f)
  look('once')
  process.removeAllListeners('SIGINT')
  look('none')
  process.emit('SIGINT') // its own, which nobody hears
  process.on('SIGINT', f)
  process.removeListener('SIGINT', f)
  const given = new AbortController()
  const waiting = once(process, 'SIGINT', { signal: given.signal })
  look('promise')
  given.abort()
  waiting.catch(() => {
    look('given up')
    http.get({ port: server.address().port, agent: new http.Agent({ keepAlive: true }) }, (res) => {
      note('connection', res.headers.connection)
      res.resume().on('end', () => {
        console.log(seen.join('\n'))
        process.removeAllListeners('SIGINT')
        console.log('done')
        if (!process.env.STAY) process.exit(0)
      })
    })
  })
})
