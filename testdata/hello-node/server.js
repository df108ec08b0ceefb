const http = require('http')

const server = http.createServer((req, res) => {
  res.end(`hello from pid ${process.pid}, release 1\n`)
})
server.listen(process.env.PORT, () => process.send?.('ready'))

process.on('SIGINT', () => {
  server.close(() => process.exit(0))
})
