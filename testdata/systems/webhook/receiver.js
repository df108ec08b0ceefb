'use strict'

// Subscribes itself to the webhook service when it starts, and unsubscribes when it is
// told to go. Until that is confirmed it has to accept connections like any other
// worker: the service asks back before it forgets a subscriber.
//
// All workers share the callback's port, so any of them may be asked about any
// subscription. None needs to know the others': a callback carries its subscriber's
// name and signature, and the challenge is answered with the token's signature, for
// both of which the shared secret is enough.

const net = require('net')
const { createServer, read, reply, request } = require('./http-json')
const { sign, verify } = require('./signing')

const PORT = Number(process.env.PORT) || 3201
const SERVICE = process.env.SERVICE || 'http://127.0.0.1:3200'
const RETRY = 500 // milliseconds between two tries to reach the service
const UNSUBSCRIBE_TIMEOUT = 8000

const me = `receiver-${process.env.NODE_APP_INSTANCE || 0}-${process.pid}`
const callback = `http://127.0.0.1:${PORT}/hook/${me}/${sign(me)}`

let received = 0
let leaving = false

const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

const server = createServer(async (req, res, { pathname, searchParams }) => {
  const [, what, name, signature] = pathname.split('/')
  if (leaving) res.setHeader('Connection', 'close')
  if (what !== 'hook') return reply(res, 200, { me, received })
  if (!verify(name, signature)) return reply(res, 404, { error: 'no such callback' })
  if (req.method === 'POST') {
    await read(req)
    received++
    return reply(res, 200)
  }
  console.log('%s asked about %s of %s', me, searchParams.get('mode'), name)
  reply(res, 200, { answer: sign(searchParams.get('challenge')) })
})

// Resolves to the subscription's id; undefined if it was told to go before there was one.
async function subscribe () {
  while (!leaving) {
    try {
      const { status, body } = await request('POST', `${SERVICE}/subscriptions`, { callback, by: me })
      if (status === 201) return body.id
      console.error('%s is not subscribed: %s', me, body.error)
    } catch (err) {
      console.error('%s cannot reach the service: %s', me, err.message)
    }
    await pause(RETRY)
  }
}

async function unsubscribe (id) {
  const until = Date.now() + UNSUBSCRIBE_TIMEOUT
  while (Date.now() < until) {
    try {
      const { status, body } = await request('DELETE', `${SERVICE}/subscriptions/${id}`)
      if (status === 200 || status === 404) return true
      console.error('%s is still subscribed: %s', me, body.error)
    } catch (err) {
      console.error('%s cannot reach the service: %s', me, err.message)
    }
    await pause(RETRY)
  }
  return false
}

let subscription

async function leave () {
  if (leaving) return
  leaving = true
  const id = await subscription // it may be on its way
  const gone = id === undefined || await unsubscribe(id)
  console.log(gone ? '%s unsubscribed' : '%s leaves a subscription behind', me)
  // Not http.Server's close(): from Node 26 on it cuts connections that were accepted
  // and whose request has not been read yet.
  net.Server.prototype.close.call(server, () => process.exit(gone ? 0 : 1))
}

process.on('SIGINT', leave)

server.listen(PORT, async () => {
  subscription = subscribe()
  if (await subscription === undefined) return
  console.log('%s subscribed', me)
  process.send?.('ready')
})
