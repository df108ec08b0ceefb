package systemd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Sweep ends what a stop has left in the cgroup of the unit that runs this process
// (ExecStopPost=), itself spared, by SIGKILL, and returns how many processes that were. It
// does so only where result, $SERVICE_RESULT of systemd.exec(5), says that the stop took
// too long, and daemonFile that everything was being stopped: after any other end the
// workers are the next supervisor's. Then daemonFile says that it is done.
func Sweep(result, daemonFile string) (killed int, err error) {
	if result != "timeout" || !stopping(daemonFile) {
		return 0, nil
	}
	dir, err := ownCgroup("/proc/self")
	if err != nil {
		return 0, fmt.Errorf("cannot sweep: %w", err)
	}
	if killed, err = sweep(dir, os.Getpid()); err == nil {
		err = settle(daemonFile)
	}
	return killed, err
}

// settle says in a supervisor's state what it did not live to say: that everything is stopped.
// Else the next command would start one to go on with that, and it would keep the service's
// own from its home.
func settle(daemonFile string) error {
	data, err := os.ReadFile(daemonFile)
	var left map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(data, &left)
	}
	if err == nil {
		left["closed"] = json.RawMessage("true")
		delete(left, "loop")
		data, err = json.Marshal(left)
	}
	if err == nil {
		err = WriteFile(daemonFile, bytes.NewReader(data), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot say in %s that all is stopped: %w", daemonFile, err)
	}
	return nil
}

// stopping reports whether a supervisor was stopping everything when its state was kept.
func stopping(daemonFile string) bool {
	data, err := os.ReadFile(daemonFile)
	var left struct {
		Stopping bool `json:"stopping"`
		Closed   bool `json:"closed"`
	}
	return err == nil && json.Unmarshal(data, &left) == nil && left.Stopping && !left.Closed
}

// maxRounds bounds how often it is looked for what others have forked meanwhile.
const maxRounds = 1000

// errForking is why a cgroup can't be emptied.
var errForking = errors.New("its processes fork faster than they are killed")

// sweep kills everything in a cgroup and those below it but one process, and looks again
// until nothing was left.
func sweep(dir string, spared int) (killed int, err error) {
	seen := map[int]bool{}
	for range maxRounds {
		var ends []int
		for _, pid := range processes(dir) {
			if pid == spared {
				continue
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue // it is gone
			}
			if ended(fd, 0) || unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
				unix.Close(fd) // a zombie, which is not ours to reap
				continue
			}
			ends = append(ends, fd)
			if !seen[pid] {
				seen[pid] = true
				killed++
			}
		}
		if len(ends) == 0 {
			return killed, nil
		}
		for _, fd := range ends {
			ended(fd, -1)
			unix.Close(fd)
		}
	}
	return killed, fmt.Errorf("cannot sweep %s: %w", dir, errForking)
}

// ended waits for the end of a process, milliseconds at most, -1 for ever.
func ended(pidfd, milliseconds int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, milliseconds)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// processes are those of a cgroup and of all below it.
func processes(dir string) (pids []int) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // one that has gone meanwhile
		}
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for field := range bytes.FieldsSeq(data) {
			if pid, err := strconv.Atoi(string(field)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// errNoUnit is why there is nothing to sweep.
var errNoUnit = errors.New("this process is in no service's cgroup")

// ownCgroup is the folder of the cgroup that systemd has made for the unit of a process:
// in the unified hierarchy, else in systemd's own of cgroup v1 (cgroups(7)). One whose
// name is no service's is an error: nothing else may be swept.
func ownCgroup(proc string) (string, error) {
	groups, err := os.ReadFile(proc + "/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile(proc + "/mountinfo")
	if err != nil {
		return "", err
	}
	for _, h := range []struct{ prefix, kind, option string }{{"0::", "cgroup2", ""}, {"name=systemd:", "cgroup", "name=systemd"}} {
		for group := range strings.Lines(string(groups)) {
			_, path, ok := strings.Cut(strings.TrimRight(group, "\n"), h.prefix)
			if !ok || !strings.HasSuffix(path, suffix) {
				continue
			}
			if dir := mounted(string(mounts), h.kind, h.option, path); dir != "" {
				return dir, nil
			}
		}
	}
	return "", errNoUnit
}

// mounted is where a cgroup's folder is, "" if it can't be seen (proc_pid_mountinfo(5)).
func mounted(mounts, kind, option, path string) string {
	for s := bufio.NewScanner(strings.NewReader(mounts)); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		fields, about := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(about) < 3 || about[0] != kind {
			continue
		}
		if option != "" && !strings.Contains(","+about[2]+",", ","+option+",") {
			continue
		}
		below, err := filepath.Rel(fields[3], path)
		if err != nil || below == ".." || strings.HasPrefix(below, "../") {
			continue
		}
		dir := filepath.Join(fields[4], below)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			return dir
		}
	}
	return ""
}
