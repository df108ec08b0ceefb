package process

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/process/shim"
)

// late are packages that Go initialises after this one if it does not need them,
// and before almost everything that costs something.
var late = []string{"os", "time", "unicode", "fmt", "io", "reflect", "strings", "golang.org/x/sys/unix"}

// TestShimComesFirst holds the first invariant of package shim: what it imports, and
// what the very binary that this is has initialised when the shim begins.
func TestShimComesFirst(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./shim").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(out)) {
		if slices.Contains(late, name) {
			t.Errorf("the shim imports %s, and so comes after half of the binary", name)
		}
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var trace strings.Builder
	cmd := exec.Command(self)
	cmd.Args = []string{shim.Name, "no order", "/bin/true", "true"}
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	cmd.Stderr = &trace
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != ShimExit {
		t.Errorf("a shim without an order exits with %d, want %d", code, ShimExit)
	}
	before := 0
	for sc := bufio.NewScanner(strings.NewReader(trace.String())); sc.Scan(); {
		name, _, _ := strings.Cut(strings.TrimPrefix(sc.Text(), "init "), " ")
		if slices.Contains(late, name) {
			t.Errorf("%s is initialised before the shim", name)
		}
		before++
	}
	if before < 3 || !strings.Contains(trace.String(), "cannot run as exec shim: ") {
		t.Errorf("a shim without an order writes\n%s\nwant a trace and its refusal", trace.String())
	}
}
