// Package cli is the command line: it turns what a person typed into requests
// of the control socket, and answers into text or JSON made of the same value.
//
// Invariants:
//   - exit codes tell the truth: 0 done, 1 the operation failed, 2 usage or
//     ecosystem error, 3 no daemon, 130 interrupted (the work goes on);
//   - with --json stdout holds JSON and nothing else, also when it failed:
//     {"error":{"code","message","details":[]}};
//   - only start starts a daemon; one that died together with its keeper, and so
//     was not told to end, is brought back by the next command that needs it;
//   - nothing here calls os.Exit, and nothing is built at package init: the same
//     binary is executed for every worker.
package cli
