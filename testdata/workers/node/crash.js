// A release that throws at boot.
console.log('pid ' + process.pid)
throw new Error('crash at boot: no database')
