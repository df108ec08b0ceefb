// A release that listens, and gives up half a second later.
const http = require('http')

console.log('pid ' + process.pid)
http.createServer((req, res) => {
  res.setHeader('X-Pid', process.pid)
  res.end(String(process.pid))
}).listen(process.env.PORT, process.env.HOST, () => {
  console.log('listening')
  setTimeout(() => {
    console.error('cannot reach the queue, giving up')
    process.exit(1)
  }, 500)
})
