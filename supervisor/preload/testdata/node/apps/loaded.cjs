// Says which preload is loaded, and what the user's own options made of the title.
console.log(JSON.stringify({ loaded: Object.keys(require.cache).filter((f) => /preload-/.test(f)), title: process.title }))
