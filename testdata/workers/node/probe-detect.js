// Looks for a free port as detect-port does: 0.0.0.0, then the default host,
// then localhost by name; the first refusal moves on to the next port.
const net = require('net')
const serve = require('./serve')

function attempt (port, host, done) {
  const probe = net.createServer()
  probe.once('error', err => {
    probe.close()
    // A name that does not resolve says nothing about the port.
    done(err.code === 'ENOTFOUND' || err.code === 'EADDRNOTAVAIL' ? null : err)
  })
  probe.listen({ port, host }, () => probe.close(() => done(null)))
}

function detect (port, found) {
  const hosts = ['0.0.0.0', undefined, 'localhost']
  const next = err => {
    if (err) return detect(port + 1, found)
    if (hosts.length === 0) return found(port)
    attempt(port, hosts.shift(), next)
  }
  next(null)
}

console.log('pid ' + process.pid)
detect(Number(process.env.PORT), serve)
