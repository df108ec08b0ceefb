// Package control is the daemon's control interface: HTTP/1.1 over a unix
// socket, the server half (Serve) and the client half (Dial).
//
// Invariants:
//   - a client can't stall the daemon: requests are read under deadlines and
//     size limits, a stream's reader has a bounded queue in the Backend (what
//     overflows is counted there and told as lost), and the connections open at
//     once are bounded;
//   - only the daemon's own uid and root are answered (SO_PEERCRED, unix(7));
//     anybody else gets 403, whatever the mode of the socket says;
//   - a request that has begun goes on when its client leaves;
//   - a client outlives its daemon: an answer that breaks off is asked for again from
//     whoever serves the same socket next (Client.Do, Client.Logs), within bounds;
//     so no answer that is cut short looks like a whole one, and a quiesced server
//     begins nothing of a request that it refuses;
//   - the client half imports nothing of the daemon.
//
// Every body is JSON. A stream is NDJSON (application/x-ndjson): one object per
// line, flushed at once. A failure is {"error":{"code","message","details"}}
// with the command line's exit code as its code (state.Error): HTTP 400 for code
// 2, 403 for a foreign uid, 404 for an unknown path, 503 for too many
// requests at once and while the server is quiesced (this with Retry-After: 0, the
// same request may be sent again), 500 for the rest.
//
//	GET  /v1/ping      Pong
//	GET  /v1/list      state.Snapshot
//	GET  /v1/describe  ?app=NAME (none: all); {"apps":[state.Describe]}
//	POST /v1/do        state.Request; a stream of {"event":state.Event} for the
//	                   apps it touches, then one {"result":state.Result}, always
//	                   last: a stream without it is a daemon that died. ?quiet=1
//	                   leaves out the events. Unknown keys are refused.
//	GET  /v1/events    a stream of state.Event, from now on
//	GET  /v1/history   ?app=NAME (none: all) &n=N; {"receipts":[state.Receipt]}
//	GET  /v1/logs      ?app=NAME (repeatable; none: all) &n=N &follow=1 &out=1
//	                   &err=1 (neither: both) &cursor=C (repeatable); a stream of
//	                   LogLine. POST with the same as a form does it too.
package control
