'use strict'

// The webhook service: who subscribes a callback gets every event sent to it.
//
//   POST   /subscriptions {callback, by}   201 {id}; 403 challenge failed; 429 quota
//   DELETE /subscriptions/ID               200; 403 challenge failed; 404
//   GET    /subscriptions                  all, and the counts since the start
//   POST   /events                         200 {delivered} when every subscriber has
//                                          taken it, 502 if one has not
//
// Neither a subscription nor its end is believed: the callback is asked first, by
// GET CALLBACK?mode=subscribe|unsubscribe&challenge=TOKEN, and has to answer with the
// token's signature.

const crypto = require('crypto')
const net = require('net')
const { createServer, read, reply, request } = require('./http-json')
const { verify } = require('./signing')

const QUOTA = Number(process.env.QUOTA) || Infinity

const subscriptions = new Map() // id -> {id, callback, by, deliveries}
const counts = { peak: 0, refused: 0, events: 0, delivered: 0, undelivered: 0, unheard: 0 }
const journal = [] // of subscriptions: {at, what, by, now}
let reserved = 0 // subscriptions whose challenge is on its way

function note (what, by) {
  counts.peak = Math.max(counts.peak, subscriptions.size)
  journal.push({ at: new Date(), what, by, now: subscriptions.size })
  console.log('%s %s, now %d', what, by, subscriptions.size)
}

async function challenge (mode, callback) {
  const token = crypto.randomBytes(16).toString('hex')
  const url = new URL(callback)
  url.searchParams.set('mode', mode)
  url.searchParams.set('challenge', token)
  const { status, body } = await request('GET', url)
  if (status !== 200 || !verify(token, body.answer)) {
    throw Object.assign(new Error(`${callback} did not pass the challenge`), { status: 403 })
  }
}

async function subscribe ({ callback, by }) {
  for (const s of subscriptions.values()) if (s.callback === callback) return s.id
  if (subscriptions.size + reserved >= QUOTA) {
    counts.refused++
    throw Object.assign(new Error(`the quota of ${QUOTA} subscriptions is used up`), { status: 429 })
  }
  reserved++
  try {
    await challenge('subscribe', callback)
  } finally {
    reserved--
  }
  const id = crypto.randomUUID()
  subscriptions.set(id, { id, callback, by, deliveries: new Set() })
  note('subscribed', by)
  return id
}

async function unsubscribe (id) {
  const subscription = subscriptions.get(id)
  if (!subscription) throw Object.assign(new Error('no such subscription'), { status: 404 })
  await challenge('unsubscribe', subscription.callback)
  subscriptions.delete(id)
  note('unsubscribed', subscription.by)
  // Once this is answered nothing comes any more.
  await Promise.allSettled(subscription.deliveries)
}

async function deliver (subscription, event) {
  const delivery = request('POST', subscription.callback, event)
  subscription.deliveries.add(delivery)
  try {
    const { status } = await delivery
    if (status !== 200) throw new Error(`status ${status}`)
    counts.delivered++
  } catch (err) {
    counts.undelivered++
    console.error('event %d did not reach %s: %s', event.id, subscription.by, err.message)
    throw err
  } finally {
    subscription.deliveries.delete(delivery)
  }
}

async function publish (data) {
  const event = { id: ++counts.events, data }
  const all = [...subscriptions.values()]
  if (all.length === 0) counts.unheard++
  const results = await Promise.allSettled(all.map(s => deliver(s, event)))
  if (results.some(r => r.status === 'rejected')) {
    throw Object.assign(new Error('not everybody has taken the event'), { status: 502 })
  }
  return all.length
}

const server = createServer(async (req, res, { pathname }) => {
  const [, what, id] = pathname.split('/')
  const body = await read(req)
  switch (`${req.method} ${what}`) {
    case 'POST subscriptions':
      return reply(res, 201, { id: await subscribe(body) })
    case 'DELETE subscriptions':
      await unsubscribe(id)
      return reply(res, 200)
    case 'GET subscriptions':
      return reply(res, 200, { subscriptions: [...subscriptions.values()].map(s => s.by), ...counts, journal })
    case 'POST events':
      return reply(res, 200, { delivered: await publish(body) })
    default:
      reply(res, 404, { error: `no ${req.method} ${pathname}` })
  }
})

process.on('SIGINT', () => {
  // Not http.Server's close(): from Node 26 on it cuts connections that were accepted
  // and whose request has not been read yet.
  net.Server.prototype.close.call(server, () => process.exit(0))
})

server.listen(Number(process.env.PORT) || 3200, '127.0.0.1', () => {
  console.log('listening on %d', server.address().port)
  process.send?.('ready')
})
