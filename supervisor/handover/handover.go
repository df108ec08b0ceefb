// Package handover keeps what must outlive the daemon: state files of the workers,
// and, behind the interface Store, their descriptors.
//
// Invariants:
//
//   - a state file is written whole to a temporary name and renamed, so a reader
//     finds the old one or the new one (rename(2)); it is not synced: it has to
//     survive the daemon, not the machine;
//   - a worker's file exists before its program runs (the go byte), and until
//     its group is gone;
//   - a pid of another boot is never looked at.
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Store keeps descriptors for the next daemon in the words of sd_notify(3),
// FDSTORE=1 and FDSTOREREMOVE=1.
type Store interface {
	Push(name string, fd int) error
	Remove(name string) error
}

// None is the Store of a daemon that has nobody to hold anything for it.
type None struct{}

// Push does nothing.
func (None) Push(string, int) error { return nil }

// Remove does nothing.
func (None) Remove(string) error { return nil }

// Record is what a state file says of one process: enough to find it again, or to
// know that it is another's by now.
type Record struct {
	Schema     int           `json:"schema"`
	ID         uint64        `json:"id"`
	App        string        `json:"app"`
	Slot       int           `json:"slot"`
	Generation int           `json:"generation"`
	PID        int           `json:"pid"`
	PGID       int           `json:"pgid"`
	StartTime  uint64        `json:"start_time"` // clock ticks since boot, proc_pid_stat(5) field 22
	Boot       string        `json:"boot_id"`
	KillSignal int           `json:"kill_signal"`
	KillAfter  time.Duration `json:"kill_timeout"`
}

// Schema is the version of Record that is written.
const Schema = 1

// maxRecord bounds what is read of one state file.
const maxRecord = 1 << 20

// Dir is the folder of the state files, HOME/state.
type Dir string

// Put writes the state file of a process. The error is the disk's; what was on
// record before is still there.
func (d Dir) Put(r Record) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("cannot keep the state of worker %d: %w", r.ID, err)
	}
	r.Schema = Schema
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot keep the state of worker %d: %w", r.ID, err)
	}
	tmp := d.path(r.ID) + ".tmp"
	if err = os.WriteFile(tmp, append(data, '\n'), 0o600); err == nil {
		err = os.Rename(tmp, d.path(r.ID))
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("cannot keep the state of worker %d: %w", r.ID, err)
	}
	return nil
}

// Drop removes the state file of a process that is gone. None is no error.
func (d Dir) Drop(id uint64) error {
	if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot drop the state of worker %d: %w", id, err)
	}
	return nil
}

// Read returns every record of this boot, and the largest id on record, of
// whatever boot. A file that can't be understood is moved aside (NAME.bad) and
// named in bad: it is never followed, and never in the way.
func (d Dir) Read(boot string) (records []Record, last uint64, bad []string) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, 0, nil
	}
	for _, e := range entries {
		id, ok := parseName(e.Name())
		if !ok {
			continue
		}
		last = max(last, id)
		path := filepath.Join(string(d), e.Name())
		r, err := readRecord(path)
		switch {
		case err != nil || r.ID != id:
			os.Rename(path, path+".bad")
			bad = append(bad, path+".bad")
		case r.Boot != boot:
			os.Remove(path)
		default:
			records = append(records, r)
		}
	}
	return records, last, bad
}

func readRecord(path string) (r Record, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	if info.Size() > maxRecord {
		return r, errors.New("too large")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, err
	}
	if r.Schema != Schema || r.PID < 2 || r.PGID < 2 {
		return r, errors.New("not a record of this version")
	}
	return r, nil
}

func (d Dir) path(id uint64) string {
	return filepath.Join(string(d), "w"+strconv.FormatUint(id, 10)+".json")
}

func parseName(name string) (uint64, bool) {
	n, ok := strings.CutPrefix(name, "w")
	if !ok {
		return 0, false
	}
	n, ok = strings.CutSuffix(n, ".json")
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(n, 10, 64)
	return id, err == nil
}

// Boot returns the id of the running boot (proc(5), random/boot_id), "" where it
// can't be read.
func Boot() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
