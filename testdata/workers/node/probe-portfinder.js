// Looks for a free port as portfinder does: a port is free when it can be
// bound, one after the other, on [::], 0.0.0.0, 127.0.0.1 and the default
// host; each try is listened on and closed again.
const net = require('net')
const serve = require('./serve')

function tryHost (port, host) {
  return new Promise((resolve, reject) => {
    const probe = net.createServer()
    probe.once('error', reject)
    probe.listen({ port, host }, () => probe.close(resolve))
  })
}

async function find (port) {
  for (; port < 65536; port++) {
    try {
      for (const host of ['::', '0.0.0.0', '127.0.0.1', undefined]) await tryHost(port, host)
      return port
    } catch (err) {
      if (err.code !== 'EADDRINUSE' && err.code !== 'EACCES') throw err
    }
  }
  throw new Error('no free port')
}

console.log('pid ' + process.pid)
find(Number(process.env.PORT)).then(serve)
