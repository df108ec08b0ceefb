package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"supervisor/supervisor/process/shim"
	"supervisor/testdata/lab"
)

// The limits of package init, in bytes and allocations: the binary is executed
// again for every worker, and the daemon keeps what init allocated. Counts, unlike
// times, are the same on every machine.
const (
	maxInitBytes  = 400 << 10
	maxInitAllocs = 2500
)

func TestPackageInitIsCheap(t *testing.T) {
	cmd := exec.Command(lab.Binary, "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	packages, bytes, allocs, worst := initialised(trace.String())
	t.Logf("%d packages, %d bytes, %d allocations at init", packages, bytes, allocs)
	if packages == 0 {
		t.Fatalf("no trace:\n%s", trace.String())
	}
	if bytes > maxInitBytes || allocs > maxInitAllocs {
		t.Errorf("package init takes %d bytes in %d allocations, at most %d in %d are allowed: %v", bytes, allocs, maxInitBytes, maxInitAllocs, worst)
	}
}

// The limits of what is initialised before a shim begins, of the above: the runtime's own
// packages and a handful that sort before it.
const (
	maxShimInitBytes    = 16 << 10
	maxShimInitPackages = 25
)

func TestAShimInitialisesAlmostNothing(t *testing.T) {
	cmd := exec.Command(lab.Binary)
	cmd.Args = []string{shim.Name} // without an order: it says so and ends
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != shim.Exit {
		t.Fatalf("exit code %d, want %d:\n%s", code, shim.Exit, trace.String())
	}
	packages, bytes, allocs, _ := initialised(trace.String())
	t.Logf("%d packages, %d bytes, %d allocations at init", packages, bytes, allocs)
	if packages == 0 || packages > maxShimInitPackages || bytes > maxShimInitBytes {
		t.Errorf("a shim begins after %d packages and %d bytes, at most %d and %d are allowed:\n%s", packages, bytes, maxShimInitPackages, maxShimInitBytes, trace.String())
	}
}

// initialised sums up what GODEBUG=inittrace=1 has written.
func initialised(trace string) (packages, bytes, allocs int, worst []string) {
	for sc := bufio.NewScanner(strings.NewReader(trace)); sc.Scan(); {
		// init NAME @0.5 ms, 0.02 ms clock, 5000 bytes, 7 allocs
		var name, at, unit, clock, unit2, word string
		var b, a int
		if n, _ := fmt.Sscanf(sc.Text(), "init %s %s %s %s %s clock, %d bytes, %d %s", &name, &at, &unit, &clock, &unit2, &b, &a, &word); n < 7 {
			continue
		}
		packages, bytes, allocs = packages+1, bytes+b, allocs+a
		if b > 20<<10 {
			worst = append(worst, fmt.Sprintf("%s: %d bytes", name, b))
		}
	}
	return packages, bytes, allocs, worst
}
