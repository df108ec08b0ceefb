// Package handover keeps what must outlive the daemon: its state files, and the
// descriptors that a holder outside of it keeps.
//
// The holder is systemd where it has started us (sd_notify(3), FDSTORE=1), and elsewhere
// the keeper: this same binary, parent and subreaper of the daemon, which speaks systemd's
// words and starts the daemon again when it dies. So the daemon has one way to come back.
//
// Invariants:
//
//   - a state file is written whole to a temporary name and renamed, so a reader
//     finds the old one or the new one (rename(2)); it is not synced: it has to
//     survive the daemon, not the machine;
//   - a worker's file exists before its program runs (the go byte), and until
//     its group is gone;
//   - a pid of another boot is never looked at;
//   - a descriptor is the holder's before the act that would be lost with it, and of one
//     name there is one;
//   - the keeper hears the last words of a daemon before it acts on its death, so there is
//     never a second daemon beside a living one;
//   - no descriptor that passes through here changes its blocking mode: they are numbers,
//     never an os.File whose Fd is called;
//   - neither end has a ticker: a keeper whose daemon lives does not wake up.
package handover

// Store keeps descriptors for the next daemon in the words of sd_notify(3),
// FDSTORE=1 and FDSTOREREMOVE=1.
type Store interface {
	Push(name string, fd int) error
	Remove(name string) error
}
