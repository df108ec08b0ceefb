// What the probing servers share: serve on the port that was found, say ready,
// drain on SIGINT.
const http = require('http')

module.exports = function serve (port) {
  if (String(port) !== process.env.PORT) console.error('port ' + process.env.PORT + ' is busy, taking ' + port)
  const server = http.createServer((req, res) => {
    const ms = Number(new URL(req.url, 'http://x').searchParams.get('ms'))
    if (ms) console.log('slow')
    res.setHeader('X-Pid', process.pid)
    setTimeout(() => res.end(String(process.pid)), ms)
  })
  server.listen(port, () => {
    console.log('listening')
    if (process.send) process.send('ready')
  })
  process.on('SIGINT', () => {
    server.close(() => process.exit(0))
    console.log('draining')
  })
}
