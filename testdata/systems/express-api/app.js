'use strict'

const express = require('express')

// The routes. health tells how the server is.
module.exports = function createApp (health) {
  const app = express()
  app.disable('x-powered-by')
  app.use((req, res, next) => {
    res.set('X-Pid', process.pid)
    next()
  })

  app.get('/_health', (req, res) => {
    const report = health()
    res.status(report.leaving ? 503 : 200).json(report)
  })

  app.get('/', (req, res) => res.json({ hello: 'world' }))

  app.get('/wait/:ms', async (req, res) => {
    const ms = Number(req.params.ms)
    if (!(ms >= 0)) throw Object.assign(new Error('not a time in milliseconds'), { status: 400 })
    console.log('waiting %d ms', ms)
    await new Promise(resolve => setTimeout(resolve, ms))
    res.json({ waited: ms })
  })

  app.post('/echo', express.json(), (req, res) => res.json(req.body))

  app.get('/broken', async () => { throw new Error('a bug in a handler') })

  app.use((req, res) => res.status(404).json({ error: `no ${req.method} ${req.path}` }))

  // Four arguments make it an error handler.
  app.use((err, req, res, next) => {
    const status = err.status || 500
    if (status >= 500) console.error(err)
    if (res.headersSent) return next(err) // express cuts the connection
    res.status(status).json({ error: status >= 500 ? 'internal error' : err.message })
  })
  return app
}
