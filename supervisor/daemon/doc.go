// Package daemon composes the supervisor: the loop, the hands that do what it
// orders, and the control server that asks it.
//
// Invariants:
//
//   - no decision is made here: orders of the loop go to the hands, what the hands
//     tell becomes a Fact, what clients ask becomes Commands;
//   - what has an order keeps it: everything about one app's sockets and builds
//     runs in that app's lane, everything about one process in its own;
//   - a program runs only after its state file is written and its channels are
//     there (the go byte);
//   - one home has one daemon: HOME/lock is held (flock(2)) for its whole life.
package daemon
