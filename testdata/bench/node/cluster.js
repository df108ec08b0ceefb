// Node's own cluster: WORKERS of app.js behind a primary that hands out connections
// (its default on Linux, round robin) and starts again who ends.
const cluster = require('cluster')

cluster.setupPrimary({ exec: require('path').join(__dirname, 'app.js') })
cluster.on('exit', () => cluster.fork())
for (let i = 0; i < Number(process.env.WORKERS); i++) cluster.fork()
