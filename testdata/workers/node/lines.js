// ready.js that also prints numbered lines (testdata/crash/lines: LINES=N/DURATION in
// milliseconds, LINES_COUNTS), sends their number over its channel with each burst, and
// answers 500 once the channel was disconnected.
const fs = require('fs')
const http = require('http')
const path = require('path')
const { PORT, HOST, LINES, LINES_COUNTS, SUPERVISOR_APP, SUPERVISOR_WORKER, NODE_APP_INSTANCE } = process.env

const id = [SUPERVISOR_APP, NODE_APP_INSTANCE, SUPERVISOR_WORKER, process.pid].join('.')
const [burst, pause] = LINES.split('/').map(text => parseInt(text))
const counts = fs.openSync(path.join(LINES_COUNTS, id), 'w')
const count = Buffer.alloc(8)
let n = 0
let disconnected = 0

// One write(2) for a line: never process.stdout, which may keep lines for itself.
function print (text) {
  fs.writeSync(1, `#${id} ${n++} ${text}.\n`)
  count.writeBigUInt64LE(BigInt(n))
  fs.writeSync(counts, count, 0, 8, 0)
}

const printing = setInterval(() => {
  for (let i = 0; i < burst; i++) print('x'.repeat(n % 61))
  if (process.connected) process.send({ printed: n })
}, pause)

process.on('disconnect', () => {
  disconnected++
  console.error('disconnected')
})

const server = http.createServer((req, res) => {
  res.setHeader('X-Pid', process.pid)
  if (disconnected) res.statusCode = 500
  res.end(String(process.pid))
})
server.listen(PORT, HOST, () => process.send('ready'))
process.on('SIGINT', () => {
  server.close(() => {
    clearInterval(printing)
    print('end')
    process.exit(0)
  })
})
