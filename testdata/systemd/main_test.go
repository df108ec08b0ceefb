package systemd

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/testdata/lab"
	"supervisor/testdata/workers"
)

// inside is set where a systemd runs that is there for the tests: the folder of what was
// built for them.
const inside = "INSIDE_SYSTEMD"

// Names in that folder.
const (
	supervisorName = "supervisor"
	otherName      = "supervisor-of-another-version"
	serverName     = "server"
)

// ports are those of this package.
var ports = lab.Ports{First: 10000, Count: 2000}

func TestMain(m *testing.M) {
	if dir := os.Getenv(inside); dir != "" {
		lab.Built, lab.Binary = dir, filepath.Join(dir, supervisorName)
		os.Exit(m.Run())
	}
	os.Exit(lab.Main(m))
}

// TestUnderSystemd runs the other tests of this package in a systemd of their own.
func TestUnderSystemd(t *testing.T) {
	if os.Getenv(inside) != "" {
		return
	}
	if os.Geteuid() != 0 {
		lab.Missing(t, "needs root, to boot a systemd in namespaces")
	}
	lab.Need(t, "unshare")
	lab.Need(t, "systemd-analyze")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{supervisorName: lab.Binary, "tests": self} {
		if err := os.Link(path, filepath.Join(lab.Built, name)); err != nil && !errors.Is(err, fs.ErrExist) { // -count=2
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(filepath.Join(lab.Built, name), data, 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := lab.Build(otherName, "-buildvcs=false", "-ldflags=-s"); err != nil {
		t.Fatal(err)
	}
	server, err := workers.BuildServer(lab.Built)
	if err == nil {
		err = os.Rename(server, filepath.Join(lab.Built, serverName))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(lab.Built, 0o755); err != nil { // workers of other users are run from it
		t.Fatal(err)
	}
	args := []string{"-b", lab.Built, t.TempDir(), "env", inside + "=" + lab.Built, filepath.Join(lab.Built, "tests"), "-test.v", "-test.parallel=4"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	if only := os.Getenv("INSIDE_RUN"); only != "" {
		args = append(args, "-test.run="+only)
	}
	out, err := exec.Command("./with-systemd", args...).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(string(out), "no tests to run") {
		t.Error("no test was run")
	}
}
