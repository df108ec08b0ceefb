// Package e2e holds the tests that need a real supervisor: the binary itself, real
// servers, and a load that counts every lost request. They run by
//
//	go test ./testdata/e2e
//
// Each test has a supervisor of its own in a home of its own, on ports of its own,
// and ends with nothing left: no process that knows the home, no socket.
package e2e
