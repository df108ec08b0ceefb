package preload

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestInstallIsIdempotent(t *testing.T) {
	dir := t.TempDir()
	path, err := Install(dir, 0o444)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(path) || !isName(filepath.Base(path)) {
		t.Errorf("path %s", path)
	}
	first, err := os.Stat(path)
	if err != nil || first.Mode() != 0o444 {
		t.Fatalf("%v, %v", first, err)
	}
	again, err := Install(dir, 0o444)
	if err != nil || again != path {
		t.Fatalf("%s, %v", again, err)
	}
	second, err := os.Stat(path)
	if err != nil || !os.SameFile(first, second) {
		t.Errorf("written twice: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestInstallRepairs(t *testing.T) {
	for story, spoil := range map[string]func(path string) error{
		"another content": func(path string) error {
			return os.WriteFile(path, []byte("throw 1"), 0o444)
		},
		"another mode": func(path string) error {
			return os.WriteFile(path, []byte(script), 0o600)
		},
		"a link": func(path string) error {
			other := filepath.Join(filepath.Dir(path), "other")
			if err := os.WriteFile(other, []byte(script), 0o444); err != nil {
				return err
			}
			return os.Symlink(other, path)
		},
	} {
		t.Run(story, func(t *testing.T) {
			dir := t.TempDir()
			if err := spoil(filepath.Join(dir, name())); err != nil {
				t.Fatal(err)
			}
			path, err := Install(dir, 0o444)
			if err != nil {
				t.Fatal(err)
			}
			if !installed(path, 0o444) {
				t.Error("not repaired")
			}
		})
	}
}

func TestInstallSaysWhere(t *testing.T) {
	_, err := Install(filepath.Join(t.TempDir(), "missing"), 0o444)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot install the Node preload: ") || !strings.Contains(err.Error(), "missing") {
		t.Error(err)
	}
}

func TestEnv(t *testing.T) {
	for _, c := range []struct {
		path, own, signal string
		message           bool
		want              []string
	}{
		{"/p.cjs", "", "SIGINT", false, []string{`NODE_OPTIONS=--require "/p.cjs"`, "SUPERVISOR_NODE_DRAIN=SIGINT"}},
		{"/p.cjs", "--enable-source-maps", "SIGTERM", true, []string{`NODE_OPTIONS=--enable-source-maps --require "/p.cjs"`, "SUPERVISOR_NODE_DRAIN=SIGTERM,shutdown"}},
		{`/a b/"c\.cjs`, "", "SIGINT", false, []string{`NODE_OPTIONS=--require "/a b/\"c\\.cjs"`, "SUPERVISOR_NODE_DRAIN=SIGINT"}},
	} {
		if got := Env(c.path, c.own, c.signal, c.message); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestStrip(t *testing.T) {
	ours := `--require "/run/x y/preload-0123456789abcdef.cjs"`
	for given, want := range map[string]string{
		"":                                   "",
		ours:                                 "",
		"--a  --b":                           "--a  --b",
		"--a " + ours:                        "--a",
		"--a " + ours + " --b":               "--a --b",
		ours + " " + ours:                    "",
		ours + " --b":                        "--b",
		`--require "/x/preload-1.cjs"`:       `--require "/x/preload-1.cjs"`,
		`--require "/x/dd trace.js" ` + ours: `--require "/x/dd trace.js"`,
		`--title "` + ours:                   `--title "` + ours, // node refuses it
	} {
		if got := Strip(given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

func TestForbidden(t *testing.T) {
	if Forbidden([]string{"--permission", "--inspect"}) || Forbidden(nil) || !Forbidden([]string{"--x", "--experimental-permission"}) {
		t.Error("wrong")
	}
}

func FuzzOptions(f *testing.F) {
	for _, own := range []string{"", "--a b", `--r "x y"`, `a"b\"c" \d`, `"`, `"\`, `--require "/preload-0123456789abcdef.cjs" --x`} {
		f.Add(own, "/home/a b/p.cjs")
	}
	f.Add("", `\" " \`)
	f.Fuzz(func(t *testing.T, own, path string) {
		before, ok := options(own)
		if stripped := Strip(own); Strip(stripped) != stripped {
			t.Errorf("%q: stripped twice it is another", own)
		}
		value, _ := strings.CutPrefix(Env(path, own, "SIGINT", false)[0], "NODE_OPTIONS=")
		after, stillOK := options(value)
		if !ok {
			return // node refuses it, with us and without
		}
		if !stillOK {
			t.Fatalf("%q: broken: %q", own, value)
		}
		if len(after) < 2 || after[len(after)-1].text != path || after[len(after)-2].text != "--require" {
			t.Errorf("%q, %q: %q", own, path, value)
		}
		for i, word := range after[:len(after)-2] {
			if !slices.ContainsFunc(before, func(o option) bool { return o.text == word.text }) {
				t.Errorf("%q: word %d is new: %q", own, i, word.text)
			}
		}
	})
}
