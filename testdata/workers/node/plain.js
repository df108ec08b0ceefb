// The smallest server: no signal handler, so SIGINT cuts what is in flight.
const http = require('http')

console.log('pid ' + process.pid)
http.createServer((req, res) => {
  const ms = Number(new URL(req.url, 'http://x').searchParams.get('ms'))
  if (ms) console.log('slow')
  res.setHeader('X-Pid', process.pid)
  setTimeout(() => res.end(String(process.pid)), ms)
}).listen(process.env.PORT, process.env.HOST, () => console.log('listening'))
