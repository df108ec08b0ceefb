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
//   - an operation ends exactly once: done, failed, or superseded by a newer one;
//   - what a message changes is on record (World.Record) before any act that it leads
//     to is ordered, and before whoever waits for it is answered: whenever this process
//     dies, a successor (Restore) finds the loop as it was between two messages, and
//     orders again what may not have been done. Every act can be done twice;
//   - instants are those of an injected Clock which a successor can read: deadlines go
//     on, whoever keeps them;
//   - events are no part of the record: a reader may see what a successor knows nothing
//     of, and it hears of it again.
package supervisor
