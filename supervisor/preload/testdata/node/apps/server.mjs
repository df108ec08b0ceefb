// An ESM program: default http server, HANDLER=close drains.
import { createServer } from 'node:http'

const server = createServer((req, res) => {
  res.setHeader('X-Pid', process.pid)
  res.end(String(process.pid))
})
server.listen(process.env.LISTEN_FD ? { fd: Number(process.env.LISTEN_FD) } : { port: 0, host: '127.0.0.1' }, () => {
  console.log('listening', server.address() ? server.address().port : 0)
})
if (process.env.HANDLER === 'close') process.on('SIGINT', () => server.close(() => process.exit(0)))
