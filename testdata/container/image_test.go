package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// image is what a container is made from.
type image struct {
	root string   // its folder
	args []string // ENTRYPOINT
	env  []string
	dir  string
	uid  int
}

// instruction is one line of a Dockerfile.
type instruction struct{ word, rest string }

// instructions reads a Dockerfile as far as ours go: no line is continued.
func instructions(t *testing.T, name string) (all []instruction) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		all = append(all, instruction{word, strings.TrimSpace(rest)})
	}
	return all
}

// build does what a Dockerfile from scratch says, with the files of a folder.
func build(t *testing.T, name, context string) image {
	t.Helper()
	i := image{root: t.TempDir(), dir: "/"}
	open(t, i.root)
	for _, in := range instructions(t, name) {
		if err := i.obey(in, context); err != nil {
			t.Fatalf("%s: %s %s: %v", name, in.word, in.rest, err)
		}
	}
	return i
}

// open lets anybody look into a folder of the tests and into those that it is in.
func open(t *testing.T, dir string) {
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func (i *image) obey(in instruction, context string) (err error) {
	switch in.word {
	case "FROM":
		if in.rest != "scratch" {
			return fmt.Errorf("there is no image %s here", in.rest)
		}
	case "COPY":
		names := strings.Fields(in.rest)
		to := names[len(names)-1]
		for _, name := range names[:len(names)-1] {
			at := to
			if strings.HasSuffix(to, "/") {
				at = path.Join(to, path.Base(name))
			}
			if err := i.copy(filepath.Join(context, name), at); err != nil {
				return err
			}
		}
	case "ENV":
		i.env = append(i.env, strings.Fields(in.rest)...)
	case "WORKDIR":
		i.dir = in.rest
		return os.MkdirAll(filepath.Join(i.root, in.rest), 0o755)
	case "USER":
		_, err = fmt.Sscan(in.rest, &i.uid)
	case "ENTRYPOINT":
		err = json.Unmarshal([]byte(in.rest), &i.args)
	default:
		return fmt.Errorf("unknown instruction")
	}
	return err
}

// copy puts a file into the image, for root alone to change.
func (i *image) copy(from, to string) error {
	to = filepath.Join(i.root, to)
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		// A process that another test forks meanwhile would have the file open for
		// writing, until it executes: nobody could execute the file (ETXTBSY, execve(2)).
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		err = os.WriteFile(to, data, 0o755)
	}
	return err
}

// bare is an image with the supervisor, the tests' worker and an ecosystem file: no /etc,
// no /tmp, and nothing in the environment.
func bare(t *testing.T, ecosystem string) image {
	t.Helper()
	context := t.TempDir()
	if err := os.WriteFile(filepath.Join(context, "eco.yaml"), []byte(ecosystem), 0o644); err != nil {
		t.Fatal(err)
	}
	i := image{root: t.TempDir(), dir: "/", uid: 12345, env: []string{"SUPERVISOR_HOME=/home"},
		args: []string{"/supervisor", "start", "--no-daemon", "/eco.yaml"}}
	open(t, i.root)
	for from, to := range map[string]string{
		binaries(t).supervisor: "/supervisor", binaries(t).worker: "/worker", filepath.Join(context, "eco.yaml"): "/eco.yaml",
	} {
		if err := i.copy(from, to); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

// The example that no test builds, since its base is not here, names files that there are,
// and ends as the other does.
func TestTheNodeImageIsOfFilesThatThereAre(t *testing.T) {
	last := ""
	for _, in := range instructions(t, "Dockerfile.node") {
		switch in.word {
		case "COPY":
			if names := strings.Fields(in.rest); !strings.HasPrefix(names[0], "--from") {
				if _, err := os.Stat(filepath.Join("../..", names[0])); err != nil {
					t.Error(err)
				}
			}
		case "ENTRYPOINT":
			var args []string
			if err := json.Unmarshal([]byte(in.rest), &args); err != nil {
				t.Errorf("ENTRYPOINT: %v", err)
			}
			last = strings.Join(args, " ")
		}
	}
	if last != "supervisor start --no-daemon" {
		t.Errorf("it runs %q", last)
	}
}

// The README shows the image as it is, without the comments.
func TestTheREADMEHasTheImage(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Dockerfile", "ecosystem.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(line, "#") {
				text.WriteString(line)
			}
		}
		if !strings.Contains(string(readme), "\n"+text.String()+"```\n") {
			t.Errorf("the README's %s is another:\n%s", name, &text)
		}
	}
}
