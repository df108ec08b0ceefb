package daemon

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"supervisor/ecosystem"
	"supervisor/supervisor/state"
)

// overrides are what an ecosystem was started with beside its text; reload applies
// them again.
type overrides struct {
	EnvName   *string `json:"env_name,omitempty"`
	Instances *string `json:"instances,omitempty"`
	Rename    *string `json:"rename,omitempty"`

	Metrics *state.Listen `json:"metrics,omitempty"` // what its text said last; nil: nothing
}

// files remembers the ecosystems. A leaf: nobody is called with the lock held.
type files struct {
	mu   sync.Mutex
	with map[string]overrides
	keep func(now func() map[string]overrides) // for the next daemon; now is a copy, of when it is called
}

// merged returns what a file is to be read with: what the request says over what
// was said before.
func (f *files) merged(path string, req state.Request) overrides {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.with[path]
	if req.EnvName != nil {
		o.EnvName = req.EnvName
	}
	if req.Instances != nil {
		o.Instances = req.Instances
	}
	if req.Rename != nil {
		o.Rename = req.Rename
	}
	return o
}

// remember keeps what a file is read with from now on; a dry run changes nothing.
func (f *files) remember(path string, o overrides, req state.Request) {
	if req.DryRun {
		return
	}
	f.mu.Lock()
	f.with[path] = o
	f.mu.Unlock()
	f.keep(f.now)
}

func (f *files) now() map[string]overrides {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.with)
}

// read validates an ecosystem file. The error is for the client, exit code 2.
func (o overrides) read(path string, env []string) (*ecosystem.Ecosystem, *state.Error) {
	src, err := readBounded(path)
	if err != nil {
		return nil, &state.Error{Code: state.ExitUsage, Message: fmt.Sprintf("cannot read %s: %v; nothing was changed", path, err)}
	}
	eco, err := ecosystem.Parse(src, ecosystem.Options{
		File: path, EnvName: o.EnvName, Instances: o.Instances, Rename: o.Rename,
		CPUs: usableCPUs(), Disk: disk(), Path: lookEnv(env, "PATH"),
	})
	if err != nil {
		failure := &state.Error{Code: state.ExitUsage, Message: fmt.Sprintf("cannot use %s; nothing was changed", path)}
		if complaints, ok := errors.AsType[ecosystem.Complaints](err); ok {
			failure.Details = complaints.Lines()
		} else {
			failure.Details = []string{err.Error()}
		}
		return nil, failure
	}
	return eco, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, errors.Unwrap(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > ecosystem.MaxFile:
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are read", info.Size(), ecosystem.MaxFile)
	}
	return os.ReadFile(path)
}

func (o overrides) name() string {
	if o.EnvName == nil {
		return ""
	}
	return *o.EnvName
}

// usableCPUs is how many processors the daemon may use: affinity and, where a
// cgroup has a quota, that (rounded up). At least 1.
func usableCPUs() int {
	n := 1
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err == nil {
		n = max(1, set.Count())
	}
	if quota, ok := cgroupQuota(disk()); ok {
		n = max(1, min(n, quota))
	}
	return n
}
