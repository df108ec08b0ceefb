package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"supervisor/testdata/lab"
	"supervisor/testdata/workers"
)

// guard bounds what a test waits for.
const guard = lab.Guard

// ports are those of this package.
var ports = lab.Ports{First: 6000, Count: 4000}

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// What is built for the tests, once, by the first who asks.
var (
	buildServer = sync.OnceValues(func() (string, error) { return workers.BuildServer(lab.Built) })
	// The faults build dies at a named point (package fault).
	buildFaults = sync.OnceValues(func() (string, error) { return lab.Build("supervisor-with-faults", "-tags", "faults") })
	// The other build has another version: without version control it says "dev".
	buildOther = sync.OnceValues(func() (string, error) {
		return lab.Build("supervisor-of-another-version", "-buildvcs=false", "-ldflags=-s")
	})
)

func built(t *testing.T, build func() (string, error)) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// program builds a Go program below this folder and returns its path.
func program(t *testing.T, folder string) string {
	t.Helper()
	path := filepath.Join(lab.Built, filepath.Base(folder))
	cmd := exec.Command("go", "build", "-o", path, "./"+folder)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v\n%s", folder, err, out)
	}
	return path
}

// source is the path of the module's root.
func source() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// number is a variable of the environment, or otherwise.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
