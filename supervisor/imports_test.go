package supervisor_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows are the imports that the architecture allows between the packages of this
// module, and the reason; a package that isn't here imports none of them.
var arrows = map[string]struct {
	to  []string
	why string
}{
	".":                       {[]string{"supervisor/cli", "supervisor/daemon", "supervisor/handover", "supervisor/process"}, "main is the shim, the keeper, or the command line with a daemon to run"},
	"ecosystem":               {[]string{"signals", "supervisor/logs/stamp", "supervisor/state"}, "a file becomes specs, which are vocabulary; it is pure"},
	"ready":                   {[]string{"supervisor/notify"}, "a worker says ready in words of sd_notify"},
	"ready/drain":             {nil, "a Go program's server"},
	"ready/gate":              {[]string{"supervisor/notify"}, "a gate hears words of sd_notify"},
	"supervisor":              {[]string{"supervisor/state", "supervisor/worker", "supervisor/rollout"}, "the loop knows the pure machines and no hand"},
	"supervisor/worker":       {[]string{"supervisor/state"}, "the machine of a worker is pure"},
	"supervisor/process":      {[]string{"signals", "supervisor/process/shim"}, "a hand imports neither another hand nor state"},
	"supervisor/control":      {[]string{"supervisor/state"}, "the control client speaks the vocabulary and knows nothing else"},
	"supervisor/cli":          {[]string{"ecosystem", "supervisor/control", "supervisor/export", "supervisor/state", "supervisor/systemd"}, "the command line asks over the socket; it validates files and installs units by itself"},
	"supervisor/daemon":       {[]string{"ecosystem", "signals", "ready/gate", "supervisor", "supervisor/control", "supervisor/handover", "supervisor/history", "supervisor/listener", "supervisor/logs", "supervisor/metrics", "supervisor/preload", "supervisor/probe", "supervisor/process", "supervisor/state", "supervisor/systemd", "supervisor/trim", "supervisor/usage"}, "the only composer"},
	"signals":                 {nil, "names and numbers"},
	"supervisor/state":        {nil, "the vocabulary is data"},
	"supervisor/metrics":      {[]string{"supervisor/state"}, "figures of a snapshot and of events, as text; it is pure"},
	"supervisor/rollout":      {nil, "the planner is pure"},
	"supervisor/export":       {[]string{"signals", "supervisor/state"}, "specs become documents; it is pure"},
	"supervisor/handover":     {[]string{"signals", "supervisor/notify", "supervisor/trim"}, "the store speaks sd_notify, and the keeper is a process of its own: it names signals and makes itself small"},
	"supervisor/history":      {nil, "a hand imports neither another hand nor state"},
	"supervisor/listener":     {nil, "a hand imports neither another hand nor state"},
	"supervisor/logs":         {[]string{"supervisor/logs/stamp"}, "a hand imports neither another hand nor state"},
	"supervisor/logs/stamp":   {nil, "times as text, for who checks a format and who writes it"},
	"supervisor/process/shim": {nil, "whatever it imports is initialised before it, in every worker"},
	"supervisor/usage":        {nil, "a hand imports neither another hand nor state"},
	"supervisor/probe":        {nil, "a hand imports neither another hand nor state"},
	"supervisor/preload":      {nil, "a hand imports neither another hand nor state"},
	"supervisor/fault":        {nil, "names of instants; anybody who acts may have one"},
	"supervisor/notify":       {nil, "a codec"},
	"supervisor/systemd":      {nil, "a hand imports neither another hand nor state"},
	"supervisor/trim":         {nil, "a process makes itself small: the daemon does, and the keeper"},
}

// pure are the packages that decide and so may have no hands, with what they may
// not reach, by whatever way.
var pure = []string{"supervisor/worker", "supervisor/rollout", "supervisor/state", "supervisor/metrics"}

var hands = []string{"os", "net", "sync", "syscall", "os/exec", "golang.org/x/sys/unix"}

type goPackage struct {
	ImportPath string
	Name       string
	Imports    []string
}

func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Imports"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}

// inModule returns a package's path below the module's root.
func inModule(path string) (string, bool) {
	if path == "supervisor" {
		return ".", true
	}
	return strings.CutPrefix(path, "supervisor/")
}

func TestArrowsGoOneWay(t *testing.T) {
	packages := list(t, "./...")
	if len(packages) < len(arrows) {
		t.Errorf("the table names %d packages, the module has %d", len(arrows), len(packages))
	}
	for _, p := range packages {
		from, _ := inModule(p.ImportPath)
		rule, known := arrows[from]
		if !known {
			t.Errorf("package %s is not in the table of arrows: what is its noun, and who may import it?", from)
		}
		for _, imported := range p.Imports {
			to, ours := inModule(imported)
			if ours && to != "supervisor/fault" && !slices.Contains(rule.to, to) {
				t.Errorf("%s imports %s, and must not: %s", from, to, rule.why)
			}
		}
	}
}

func TestDecisionsHaveNoHands(t *testing.T) {
	for _, name := range pure {
		for _, p := range list(t, "./"+name) {
			for _, imported := range p.Imports {
				if slices.Contains(hands, imported) {
					t.Errorf("%s imports %s: a decision has no hands", name, imported)
				}
			}
		}
	}
}
