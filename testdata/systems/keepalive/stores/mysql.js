'use strict'

// As MySQL does: the server speaks first, and a client that leaves says so.
require('./line-server')('mysql', Number(process.env.PORT) || 3301, {
  greeting: 'fake-mysql 1.0',
  goodbye: 'COM_QUIT',
  answer: sql => /^SELECT (\d+)$/.test(sql) ? RegExp.$1 : 'ERROR You have an error in your SQL syntax'
})
