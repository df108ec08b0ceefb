// A release that hangs at boot: it neither listens nor says ready.
console.log('pid ' + process.pid)
setInterval(() => {}, 1 << 30)
