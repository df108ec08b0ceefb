package usage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// readFamily returns the processes of one worker, which are those of
// processTable.tree.
func readFamily(pid int) ([]*process, error) {
	table, err := readFamilies(map[int]bool{pid: true}, 0)
	if err != nil {
		return nil, err
	}
	return table.tree(pid), nil
}

// passCost is how many processes a pass over /proc reads in the time that
// readFamilies takes for one: the threads of each are looked at, a dozen in a
// program of Go or Node.
const passCost = 12

// readFamilies returns a table of the workers' processes, in which tree finds
// the same as in that of readProcesses, without reading the stat of every
// process of the machine: getpgid(2) finds the groups for a twentieth of
// that, and /proc/PID/task/TID/children (proc_pid_task(5)) what is below. Where
// that would cost more than a whole pass, at so many processes of a pass for
// each member of a group, it is one (cost 0: never).
func readFamilies(pids map[int]bool, cost int) (processTable, error) {
	queue, all, err := members(pids)
	if err != nil {
		return processTable{}, err
	}
	if len(queue)*cost > all {
		return readProcesses()
	}
	t := newProcessTable(len(queue))
	buf := make([]byte, maxStat)
	for ; len(queue) > 0; queue = queue[1:] {
		next := queue[0]
		if t.byPID[next] != nil {
			continue
		}
		n, err := readStat(next, buf)
		if err != nil {
			return t, fmt.Errorf("cannot read /proc/%d/stat: %w", next, err)
		}
		p, err := parseStat(buf[:n])
		if err != nil {
			continue // ended: nothing was read
		}
		t.add(&p)
		children, err := childrenOf(next)
		if errors.Is(err, errNoChildren) {
			return readProcesses()
		}
		if err != nil {
			return t, err
		}
		queue = append(queue, children...)
	}
	return t, nil
}

// members lists the processes of these process groups, and the pids themselves
// wherever they are; all is how many processes there are.
func members(groups map[int]bool) (list []int, all int, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list processes: %w", err)
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		all++
		if groups[pid] {
			list = append(list, pid)
		} else if id, err := unix.Getpgid(pid); err == nil && groups[id] {
			list = append(list, pid)
		}
	}
	return list, all, nil
}

// errNoChildren says that the kernel was built without CONFIG_PROC_CHILDREN.
var errNoChildren = errors.New("the kernel lists no children")

// childrenOf lists the children of all threads of a process; none if it is gone.
func childrenOf(pid int) ([]int, error) {
	folder := "/proc/" + strconv.Itoa(pid) + "/task"
	dir, err := os.Open(folder)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the threads of process %d: %w", pid, err)
	}
	defer dir.Close()
	threads, err := dir.Readdirnames(-1)
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("cannot list the threads of process %d: %w", pid, err)
	}
	var children []int
	for _, thread := range threads {
		text, err := os.ReadFile(folder + "/" + thread + "/children")
		if gone(err) {
			if unix.Access(folder+"/"+thread+"/stat", unix.F_OK) == nil && unix.Access("/proc/thread-self/children", unix.F_OK) != nil {
				return nil, errNoChildren
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list the children of process %d: %w", pid, err)
		}
		for word := range bytes.FieldsSeq(text) {
			if child, err := strconv.Atoi(string(word)); err == nil {
				children = append(children, child)
			}
		}
	}
	return children, nil
}
