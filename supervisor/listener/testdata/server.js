// The ordinary Node server. HOST and PROBE are the test's.
const http = require('http'), net = require('net')

// A port is free if it can be listened on at every address in turn.
async function free(port) {
  for (const host of (process.env.PROBE || '').split(',').filter(Boolean)) {
    const ok = await new Promise(resolve => {
      const probe = net.createServer()
      probe.once('error', () => resolve(false))
      probe.listen(port, host === '*' ? undefined : host, () => probe.close(() => resolve(true)))
    })
    if (!ok) return free(port + 1)
  }
  return port
}

const server = http.createServer((req, res) => res.end(String(process.pid)))
if (process.env.SOCKET) server.listen(process.env.SOCKET)
else free(Number(process.env.PORT)).then(port => server.listen(port, process.env.HOST || undefined))
server.on('listening', () => console.log('serving'))
process.on('SIGINT', () => server.close(() => process.exit(0)))
