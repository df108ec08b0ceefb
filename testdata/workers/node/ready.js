// Says ready over the IPC channel and drains on SIGINT: pm2's textbook app.
const http = require('http')
const { PORT, HOST } = process.env

console.log('pid ' + process.pid)
const server = http.createServer((req, res) => {
  const ms = Number(new URL(req.url, 'http://x').searchParams.get('ms'))
  if (ms) console.log('slow')
  res.setHeader('X-Pid', process.pid)
  setTimeout(() => res.end(String(process.pid)), ms)
})
server.listen(PORT, HOST, () => {
  console.log('listening')
  if (process.send) process.send('ready')
})
process.on('SIGINT', () => {
  server.close(() => process.exit(0))
  console.log('draining')
})
