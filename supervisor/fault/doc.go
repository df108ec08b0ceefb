// Package fault names the instants between two acts at which the supervisor may die,
// so that a test can let it die at each of them.
//
// Invariants:
//   - without the build tag faults nothing of it is in the program;
//   - a name is a constant at its one place of use, PART.what-has-just-happened
//     ("spawn.pushed"), so that a test finds all of them in the source.
package fault
