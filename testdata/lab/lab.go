// Package lab is what the tests share that need a real supervisor: the binary itself,
// in a home of its own, on ports of its own, under a load that counts every lost
// request. Its users are packages of tests only (testdata/e2e, testdata/systems).
//
// The binary is built once per package of tests, by Main. No Supervisor sees another:
// its home is in the environment of all that it starts, which is how Processes finds
// them and End can say that nothing is left. What a test holds a supervisor to is not
// here, except what every test does: nothing lost (Under), nothing left (End).
package lab

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Guard bounds what a test waits for; it is no measure of anything.
const Guard = 60 * time.Second

var (
	// Binary is the path of the supervisor under test. Main sets it.
	Binary string
	// Built is the folder of what is built for the tests; it goes with them. Main
	// sets it.
	Built string
)

// Main is a package's TestMain: it builds the supervisor, runs the tests, removes what
// was built and returns the exit code.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "supervisor-lab")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	Built = dir
	if Binary, err = Build("supervisor-under-test"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Consult opens every folder of the source, within a test: go test takes a result from
// its cache unless something has changed that a test has opened, and it does not know
// what it is that is built here. New does it.
var Consult = sync.OnceFunc(func() {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".git") {
			return filepath.SkipDir
		}
		return nil
	})
})

// Build builds a supervisor under a name of its own, with flags of `go build`, into
// Built and returns its path.
func Build(name string, flags ...string) (string, error) {
	path := filepath.Join(Built, name)
	build := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "supervisor")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the supervisor: %w\n%s", err, out)
	}
	return path, nil
}

// Missing skips a test that can't run here; under CI that is a failure.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Need returns the path of a tool; if there is none, it is Missing.
func Need(t testing.TB, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		Missing(t, "%s is missing", tool)
	}
	return path
}
