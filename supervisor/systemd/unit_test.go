package systemd

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

func options() Options {
	return Options{
		File: "/srv/shop/ecosystem.yaml", Binary: "/usr/local/libexec/supervisor/supervisor-shop", Installed: true,
		Env:     []string{"SUPERVISOR_HOME=/root/.supervisor", "PATH=/usr/local/bin:/usr/bin"},
		Workers: 4, StopTime: 25 * time.Second,
	}
}

// hostile is what has a meaning to systemd somewhere: specifiers, variables, quotes,
// escapes, comments, the end of a line.
const hostile = "/srv/a b%n $HOME \"q\" 'r' \\x #;\n\tö/web.yaml"

func TestUnit(t *testing.T) {
	user := options()
	user.User, user.Installed, user.Workers = true, false, 1000
	odd := options()
	odd.File, odd.EnvName = hostile, "prod%u"
	odd.Env = append(odd.Env, "ODD="+hostile+"\x01\\")
	for name, o := range map[string]Options{"system": options(), "user": user, "odd": odd} {
		got, err := Unit(o)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name+".service")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || got != string(want) {
			t.Errorf("%s is not %s (%v; go test -update writes it):\n%s", name, golden, err, got)
		}
		if !MadeFor(got, o.File) || !MadeFor(got, "") || MadeFor(got, "/srv/other.yaml") || MadeFor("[Unit]\n"+got, "") {
			t.Errorf("%s is not known again", name)
		}
	}
}

func TestUnitRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"a relative program":           func(o *Options) { o.Binary = "supervisor" },
		"a quote in the program's":     func(o *Options) { o.Binary = "/srv/it's/supervisor" },
		"a backslash in the program's": func(o *Options) { o.Binary = `/srv/a\b` },
		"no assignment":                func(o *Options) { o.Env = []string{"PATH"} },
		"no name":                      func(o *Options) { o.Env = []string{"=x"} },
		"no UTF-8":                     func(o *Options) { o.Env = []string{"A=\xff"} },
		"a NUL byte":                   func(o *Options) { o.File = "/a\x00b" },
	} {
		o := options()
		change(&o)
		if text, err := Unit(o); err == nil {
			t.Errorf("%s is accepted:\n%s", name, text)
		}
	}
}

// Each unit is one that systemd itself understands without a word.
func TestUnitsAreVerified(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("systemd-analyze is missing")
		}
		t.Skip("systemd-analyze is missing")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "a b%n ö $x")
	if err := os.Symlink("/bin/true", program); err != nil {
		t.Fatal(err)
	}
	for _, user := range []bool{false, true} {
		o := options()
		o.Binary, o.User, o.File = program, user, hostile
		text, err := Unit(o)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "supervisor-shop.service")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"verify", path}
		if user {
			args = append([]string{"--user"}, args...)
		}
		cmd := exec.Command(analyze, args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("user %v: %v\n%s", user, err, out)
		}
	}
}

func TestNames(t *testing.T) {
	for file, want := range map[string]string{
		"/srv/shop/ecosystem.yaml":                         "supervisor-shop.service",
		"/srv/shop/ecosystem.json":                         "supervisor-shop.service",
		"/srv/shop.yml":                                    "supervisor-shop.service",
		"/srv/my shop@ä.yaml":                              "supervisor-my-shop---.service",
		"/" + strings.Repeat("x", 300) + "/ecosystem.yaml": "supervisor-" + strings.Repeat("x", 236) + ".service",
	} {
		if got := Name(file); got != want {
			t.Errorf("Name(%s) = %s, want %s", file, got, want)
		}
	}
	for typed, want := range map[string]string{"web": "web.service", "web.service": "web.service", "": "", "a/b": "", "a b": "", "a@b": "", ".x": "", strings.Repeat("x", 300): ""} {
		if got, ok := GivenName(typed); ok != (want != "") || ok && got != want {
			t.Errorf("GivenName(%s) = %s, %v, want %q", typed, got, ok, want)
		}
	}
}
