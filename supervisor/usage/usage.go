// Package usage measures what a worker uses: cpu time, memory and open
// connections of its whole process tree, and the accept queues of the
// sockets that the supervisor holds.
//
// Invariants:
//   - nothing is measured unless asked: no ticker, no goroutine, no cache of
//     processes. The only state is the cpu time at the last look;
//   - one pass over /proc serves every worker of a look, and where they are few
//     it reads no more of the machine's other processes than their group;
//   - what is not known is absent or an error, never 0.
//
// /proc is read by hand. github.com/prometheus/procfs was measured first: its
// package init costs 0.2 ms and 892 allocations in every exec of this binary
// (each worker's shim is one), and its Stat scans all 40 fields of a process
// with fmt, where a look needs six of them.
package usage

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// minWindow is the least time over which a cpu figure is computed once a
// worker has been looked at: the kernel counts in ticks of 10 ms, so that two
// looks close together would report 0 % or 300 % of nothing.
const minWindow = 500 * time.Millisecond

// Figures are what one process tree uses.
type Figures struct {
	// RSSBytes is the resident memory of all processes of the tree. Pages
	// that several of them share are counted in each (proc_pid_stat(5), rss).
	RSSBytes int64
	// CPUPercent is user and system time since the last look, or since the
	// start of the worker at the first; 100 is one cpu fully used. Children
	// that came and went between two looks are included when their parent
	// waited for them.
	CPUPercent float64
	// Processes is the number of living processes, zombies excluded.
	Processes int
}

// Sampler computes cpu figures between two looks. The zero value is ready to
// use, by several goroutines at once.
type Sampler struct {
	mu    sync.Mutex // leaf: held for arithmetic only
	trees map[treeKey]track
}

// treeKey names one incarnation of a process: a pid alone is reused.
type treeKey struct {
	pid   int
	start uint64 // ticks since boot
}

// reading is the cpu time of a tree at one moment of CLOCK_BOOTTIME.
type reading struct {
	at, cpu time.Duration
}

// track is what remains of the earlier looks at one tree. The older reading
// serves the looks that come within minWindow of the newer one.
type track struct {
	older, newer reading
}

// Sample looks at the tree of every pid: the process itself, everything below
// it by parent links, and every process of the group that it leads. A pid of
// which nothing lives is absent from the result. The error says that /proc
// could not be read at all; then no figure is known.
func (s *Sampler) Sample(pids []int) (map[int]Figures, error) {
	wanted := make(map[int]bool, len(pids))
	for _, pid := range pids {
		wanted[pid] = true
	}
	table, err := readFamilies(wanted, passCost)
	if err != nil {
		return nil, err
	}
	now, err := bootTime()
	if err != nil {
		return nil, err
	}
	page := int64(unix.Getpagesize())

	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(table, wanted)
	out := make(map[int]Figures, len(pids))
	for _, pid := range pids {
		var f Figures
		var cpu uint64
		oldest := ^uint64(0)
		for _, p := range table.tree(pid) {
			// A zombie holds no memory, but its cpu time must not vanish
			// and come back while its parent has not waited for it.
			cpu += p.ownTicks + p.childTicks
			if p.state == stateZombie {
				continue
			}
			f.Processes++
			f.RSSBytes += p.rssPages * page
			oldest = min(oldest, p.startTicks)
		}
		if f.Processes == 0 {
			continue
		}
		key := treeKey{pid: pid, start: oldest}
		if p, ok := table.byPID[pid]; ok {
			key.start = p.startTicks
		}
		f.CPUPercent = s.percent(key, reading{at: now, cpu: ticks(cpu)})
		out[pid] = f
	}
	return out, nil
}

// percent records a reading and returns the use since the one to compare with.
func (s *Sampler) percent(key treeKey, now reading) float64 {
	t, known := s.trees[key]
	if !known {
		t.newer = reading{at: ticks(key.start)}
	}
	base := t.older
	if !known || now.at-t.newer.at >= minWindow {
		base = t.newer
		if s.trees == nil {
			s.trees = make(map[treeKey]track)
		}
		s.trees[key] = track{older: t.newer, newer: now}
	}
	// A group whose orphan ended loses that one's time: the sum went back.
	if now.cpu <= base.cpu || now.at <= base.at {
		return 0
	}
	return 100 * float64(now.cpu-base.cpu) / float64(now.at-base.at)
}

// forget drops the trees that ended. A tree that merely was not asked for
// this time stays: list and describe look at different ones. The table need
// not have those, so they are read.
func (s *Sampler) forget(table processTable, wanted map[int]bool) {
	for key := range s.trees {
		p := table.byPID[key.pid]
		if p == nil && !wanted[key.pid] {
			var buf [maxStat]byte
			if n, err := readStat(key.pid, buf[:]); err != nil {
				continue // not known
			} else if other, err := parseStat(buf[:n]); err == nil {
				p = &other
			}
		}
		if p == nil || p.startTicks != key.start {
			delete(s.trees, key)
		}
	}
}

// ticks converts the clock ticks of proc_pid_stat(5). USER_HZ is 100 on every
// architecture that Go runs on.
func ticks(n uint64) time.Duration {
	const userHZ = 100
	return time.Duration(n) * (time.Second / userHZ)
}

// bootTime is the clock that a process's start time is given in.
func bootTime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("cannot read the boot clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
