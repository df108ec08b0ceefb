// A program that forks by itself: two children that accept on one socket, each of
// which drains on SIGINT, and a primary that ends when they have.
const cluster = require('cluster')
const http = require('http')
const { PORT, HOST } = process.env

cluster.schedulingPolicy = cluster.SCHED_NONE
if (cluster.isPrimary) {
  console.log('pid ' + process.pid)
  let up = 0
  cluster.on('listening', () => {
    if (++up !== 2) return
    console.log('listening')
    if (process.send) process.send('ready')
  })
  cluster.on('exit', () => {
    if (Object.keys(cluster.workers).length === 0) process.exit(0)
  })
  process.on('SIGINT', () => console.log('draining'))
  cluster.fork()
  cluster.fork()
} else {
  const server = http.createServer((req, res) => {
    const ms = Number(new URL(req.url, 'http://x').searchParams.get('ms'))
    if (ms) console.log('slow')
    res.setHeader('X-Pid', process.pid)
    setTimeout(() => res.end(String(process.pid)), ms)
  })
  server.listen(PORT, HOST)
  process.on('SIGINT', () => server.close(() => process.disconnect()))
}
