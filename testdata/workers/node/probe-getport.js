// Looks for a free port as get-port does: the wanted one is bound on every
// local address at once and then closed; if one of them is taken, any port.
const net = require('net')
const os = require('os')
const serve = require('./serve')

function bindOn (port, host) {
  return new Promise((resolve, reject) => {
    const probe = net.createServer()
    probe.unref()
    probe.on('error', reject)
    probe.listen({ port, host }, () => {
      const got = probe.address().port
      probe.close(() => resolve(got))
    })
  })
}

function localHosts () {
  const hosts = new Set([undefined, '0.0.0.0'])
  for (const addresses of Object.values(os.networkInterfaces())) {
    for (const { address } of addresses) hosts.add(address)
  }
  return hosts
}

async function isFree (port) {
  for (const host of localHosts()) {
    try {
      await bindOn(port, host)
    } catch (err) {
      if (err.code === 'EADDRNOTAVAIL' || err.code === 'EINVAL') continue
      return false
    }
  }
  return true
}

async function getPort (wanted) {
  return await isFree(wanted) ? wanted : bindOn(0)
}

console.log('pid ' + process.pid)
getPort(Number(process.env.PORT)).then(serve)
