// The smallest server: it answers with its pid. It says ready over a channel if it
// has one, and a line on stdout. DRAIN=1: it ends as Node's documentation has it.
// REUSE_PORT=1: it binds its port beside others that do (Node 22.12). /block keeps it
// busy for 3 s.
const http = require('http')
const { PORT, DRAIN, REUSE_PORT } = process.env

const server = http.createServer((req, res) => {
  if (req.url === '/block') for (const end = Date.now() + 3000; Date.now() < end;);
  res.end(String(process.pid))
})
server.listen({ port: PORT, host: '127.0.0.1', reusePort: REUSE_PORT === '1' }, () => {
  if (process.send) process.send('ready')
  console.log('ready')
})
if (DRAIN) process.on('SIGINT', () => server.close(() => process.exit(0)))
