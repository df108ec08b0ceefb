// Package state is the vocabulary of the supervisor: the states a worker can be
// in, what is wanted of it, the specification of an app, what clients ask, and
// what they are told. Data only.
//
// Invariants:
//   - no type here has a hand: nothing opens, signals, waits or keeps time;
//   - every value that leaves the loop is a copy, so a reader can't change it;
//   - the JSON names are the public contract of `--json`: they are added to, not
//     changed; a figure that isn't known is null, never 0.
package state
