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
	"os"
	"os/exec"
	"path/filepath"
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
	Built, Binary = dir, filepath.Join(dir, "supervisor-under-test")
	build := exec.Command("go", "build", "-o", Binary, "supervisor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the supervisor: %v\n%s", err, out)
		return 1
	}
	return m.Run()
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
