// Package crash holds the tests of what happens when the supervisor dies or is
// replaced: by SIGKILL at random moments and at every named instant of its code, by
// upgrades to good and broken binaries, with and without its keeper. They run by
//
//	go test ./testdata/crash
//
// Every test has a supervisor of its own under a load that counts each lost request,
// with workers that print numbered lines as fast as their pipes take them. After each
// death it asks for the same: no request lost, one daemon, one keeper, the processes
// that the list names and no other, the same pids where nothing was to change; and at
// the end each line exactly once, and nothing left.
//
// Environment: CRASH_KILLS is how often the tests at random kill (a fifth of that with
// -short), CRASH_SEED repeats what they choose, though not the moment at which a
// process comes to what.
package crash
