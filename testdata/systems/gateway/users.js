'use strict'

const runService = require('./service')

const users = ['ada', 'grace', 'edsger']

runService('users', async ({ method, path, body }) => {
  const [what, ms] = path
  switch (`${method} ${what ?? ''}`) {
    case 'GET ':
      return { status: 200, body: users }
    case 'GET wait': // a request that takes its time
      console.log('waiting %d ms', ms)
      await new Promise(resolve => setTimeout(resolve, Number(ms)))
      return { status: 200, body: { waited: Number(ms) } }
    case 'POST login':
      if (!users.includes(body?.name)) return { status: 401, body: { error: 'who?' } }
      return { status: 200, body: { welcome: body.name } }
    default:
      return { status: 404, body: { error: `no ${method} of users` } }
  }
})
