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
// processTable.tree, without reading the stat of every process of the
// machine: getpgid(2) finds the group for a twentieth of that, and
// /proc/PID/task/TID/children (proc_pid_task(5)) what is below.
func readFamily(pid int) ([]*process, error) {
	members, err := groupOf(pid)
	if err != nil {
		return nil, err
	}
	var family []*process
	seen := make(map[int]bool)
	buf := make([]byte, maxStat)
	for queue := append([]int{pid}, members...); len(queue) > 0; queue = queue[1:] {
		next := queue[0]
		if seen[next] {
			continue
		}
		seen[next] = true
		n, err := readStat(next, buf)
		if err != nil {
			return nil, fmt.Errorf("cannot read /proc/%d/stat: %w", next, err)
		}
		p, err := parseStat(buf[:n])
		if err != nil {
			continue // ended: nothing was read
		}
		family = append(family, &p)
		children, err := childrenOf(next)
		if errors.Is(err, errNoChildren) {
			table, err := readProcesses()
			return table.tree(pid), err
		}
		if err != nil {
			return nil, err
		}
		queue = append(queue, children...)
	}
	return family, nil
}

// groupOf lists the processes of a process group.
func groupOf(pgid int) ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var members []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if id, err := unix.Getpgid(pid); err == nil && id == pgid {
				members = append(members, pid)
			}
		}
	}
	return members, nil
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
