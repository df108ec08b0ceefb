// Package supervisor is the loop: the only owner of what runs.
//
// Invariants:
//
//   - one goroutine (Run) owns every app, worker, rollout and timer; everything
//     else sends it a message and gets no lock;
//   - the loop never blocks: it asks the World, which answers later by a Fact; a
//     slow reader of events loses events and is told how many;
//   - decisions are made in packages worker and rollout, which are pure; this
//     package keeps their state, arms their timers and carries their orders out;
//   - every fact about a process names the spawn (ID) it is about; a fact about a
//     spawn that is forgotten is dropped;
//   - an operation ends exactly once: done, failed, or superseded by a newer one.
package supervisor
