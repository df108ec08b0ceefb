// A server behind npm start: the signal must find it there.
require('../ready.js')
