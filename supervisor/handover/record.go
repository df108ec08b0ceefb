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

// Record is what a state file says of one process: enough to find it again, or to
// know that it is another's by now, and what the hands had done with it.
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

	// Since schema 2.
	Signalled []Proc            `json:"signalled,omitempty"` // who got the stop signal
	Hand      int               `json:"hand,omitempty"`      // slot of the notification memory
	Told      bool              `json:"told,omitempty"`      // it was sent the message shutdown
	Inodes    map[string]uint64 `json:"inodes,omitempty"`    // of what was pushed, by the name's suffix (".o")
}

// Proc is a process for as long as the machine is up: a pid may be another's later, but
// not with the same start time.
type Proc struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start_time"` // clock ticks since boot
}

// Schema is the version of Record that is written. The one before it is read too.
const Schema = 2

// maxRecord bounds what is read of one record, in bytes.
const maxRecord = 1 << 20

// Put writes the state file of a process. The error is the disk's; what was on
// record before is still there.
func (d Dir) Put(r Record) error {
	r.Schema = Schema
	data, err := json.Marshal(r)
	if err == nil {
		err = d.keep(recordName(r.ID), [][]byte{data, {'\n'}})
	}
	if err != nil {
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
// whatever boot. A file that can't be understood is moved aside and
// named in bad: it is never followed, and never in the way.
func (d Dir) Read(boot string) (records []Record, last uint64, bad []string) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, 0, nil
	}
	for _, e := range entries {
		name, torn := strings.CutSuffix(e.Name(), tmpSuffix)
		id, ok := parseName(name)
		if !ok {
			continue
		}
		last = max(last, id)
		path := filepath.Join(string(d), e.Name())
		if torn { // a daemon died while it wrote; nobody would write this one again
			os.Remove(path)
			continue
		}
		r, err := readRecord(path)
		switch {
		case err != nil || r.ID != id:
			bad = append(bad, d.Aside(name))
		case r.Boot != boot:
			os.Remove(path)
		default:
			records = append(records, r)
		}
	}
	return records, last, bad
}

func readRecord(path string) (r Record, err error) {
	data, err := load(path, maxRecord)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, err
	}
	if r.Schema < Schema-1 || r.Schema > Schema || r.PID < 2 || r.PGID < 2 {
		return r, errors.New("not a record of this version")
	}
	return r, nil
}

func (d Dir) path(id uint64) string { return filepath.Join(string(d), recordName(id)) }

func recordName(id uint64) string { return "w" + strconv.FormatUint(id, 10) + ".json" }

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

// firstPIDNamespace is what /proc/self/ns/pid is in the namespace that the kernel began
// with (PROC_PID_INIT_INO of its proc_ns.h).
const firstPIDNamespace = "pid:[4026531836]"

// Boot names the life of everything that has a pid here, "" where it can't be known: by the
// id of the running boot (proc(5), random/boot_id) and, in a container, when its first
// process was started. A container that was started again with the same folders has no
// process of the one before.
func Boot() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	id := strings.TrimSpace(string(data))
	if ns, err := os.Readlink("/proc/self/ns/pid"); err != nil || ns == firstPIDNamespace {
		return id
	}
	first, err := readStat(1)
	if err != nil { // hidden from us (hidepid of proc(5))
		return id
	}
	return id + "+" + strconv.FormatUint(first.start, 10)
}
