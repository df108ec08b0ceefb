'use strict'

const runService = require('./service')

const goods = new Map([
  [1, { id: 1, name: 'lamp', price: 35 }],
  [2, { id: 2, name: 'chair', price: 80 }],
  [3, { id: 3, name: 'table', price: 210 }]
])

const problem = (status, message) => Object.assign(new Error(message), { status })

runService('goods', async ({ method, path }) => {
  const [id, rest] = path
  if (method !== 'GET' || rest !== undefined) throw problem(405, 'goods can only be looked at')
  if (id === undefined) return { status: 200, body: [...goods.values()] }
  const found = goods.get(Number(id))
  if (!found) throw problem(404, `no goods ${id}`)
  return { status: 200, body: found }
})
