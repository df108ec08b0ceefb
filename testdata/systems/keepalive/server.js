'use strict'

const express = require('express')
const http = require('http')
const net = require('net')
const { createTerminus } = require('@godaddy/terminus')
const Pool = require('./pool')

// After the signal, DRAIN ms in which clients learn that their connection ends, then at
// most FINISH ms for requests that take longer. Together less than kill_timeout.
const DRAIN = 1000
const FINISH = 3000

const mysql = new Pool({ port: Number(process.env.MYSQL_PORT) || 3301, greeting: true, goodbye: 'COM_QUIT' })
const redis = new Pool({ port: Number(process.env.REDIS_PORT) || 3302, goodbye: 'QUIT' })

let leaving = false
const unanswered = new Set()

const app = express()
app.use((req, res, next) => {
  res.set('X-Pid', process.pid)
  if (leaving) res.set('Connection', 'close')
  unanswered.add(res)
  res.on('close', () => unanswered.delete(res))
  next()
})
app.get('/', async (req, res) => {
  const [row, visits] = await Promise.all([mysql.query('SELECT 42'), redis.query('INCR visits')])
  if (row !== '42' || visits[0] !== ':') throw new Error(`the stores say ${row} and ${visits}`)
  res.json({ row: Number(row), visits: Number(visits.slice(1)) })
})
app.get('/wait/:ms', async (req, res) => {
  console.log('waiting %d ms', req.params.ms)
  await new Promise(resolve => setTimeout(resolve, Number(req.params.ms)))
  res.json({ row: await mysql.query('SELECT 1') }) // the pools must still be there
})

const server = http.createServer(app)

async function health () {
  const [row, pong] = await Promise.all([mysql.query('SELECT 1'), redis.query('PING')])
  if (row !== '1' || pong !== '+PONG') throw new Error(`the stores say ${row} and ${pong}`)
  return { mysql: 'ok', redis: 'ok' }
}

// Out of accept at once, the other workers go on; what is connected is answered with
// "Connection: close" from now on. terminus by itself would end idle connections the
// moment it stops, among them some whose request has just been sent.
function beforeShutdown () {
  leaving = true
  for (const res of unanswered) if (!res.headersSent) res.set('Connection', 'close')
  console.log('the signal came')
  net.Server.prototype.close.call(server)
  // terminus closes the server again, and that it is closed is no error then.
  server.close = done => http.Server.prototype.close.call(server, err => {
    done(err?.code === 'ERR_SERVER_NOT_RUNNING' ? undefined : err)
  })
  return new Promise(resolve => setTimeout(resolve, DRAIN))
}

// All requests are answered: nobody needs the pools any more.
async function onSignal () {
  await Promise.all([mysql.close(), redis.close()])
  console.log('pools closed')
}

createTerminus(server, {
  signals: ['SIGINT', 'SIGTERM'],
  healthChecks: { '/healthz': health },
  timeout: FINISH,
  useExit0: true,
  beforeShutdown,
  onSignal,
  logger: console.error
})

server.on('error', err => {
  console.error('cannot listen: %s', err.message)
  process.exit(1)
})

Promise.all([mysql.open(), redis.open()]).then(() => {
  server.listen(Number(process.env.PORT) || 3300, () => {
    console.log('listening on %d, pid %d', server.address().port, process.pid)
    process.send?.('ready')
  })
})
