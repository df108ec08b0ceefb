package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tools are the programs that are measured, and what they serve. A path is empty, or
// missing says why, where there is none.
type tools struct {
	dir        string // a folder of this run; it goes with it
	root       string // the module's
	supervisor string
	worker     string // the programs of the folders of these names
	server     string
	spawn      string
	node       string
	pm2Script  string // pm2/bin/pm2, which node runs
	gunicorn   string
	nginx      string
	app        string // node/app.js
	cluster    string // node/cluster.js
	even       bool   // the supervisor knows balance: even
	missing    map[string]string
	stages     int
}

// the lock of what npm installs.
var (
	//go:embed node/package.json
	packageJSON []byte
	//go:embed node/package-lock.json
	packageLock []byte
)

// moduleRoot is the folder of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("cannot ask go for the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if filepath.Base(file) != "go.mod" {
		return "", errors.New("not in the supervisor's module")
	}
	return filepath.Dir(file), nil
}

// newTools builds ours and finds the others.
func newTools(ctx context.Context, o options) (*tools, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench") // short: sockets are in it (unix(7))
	if err != nil {
		return nil, err
	}
	t := &tools{
		dir: dir, root: root, missing: make(map[string]string),
		app:     filepath.Join(root, "testdata", "bench", "node", "app.js"),
		cluster: filepath.Join(root, "testdata", "bench", "node", "cluster.js"),
	}
	if err := t.find(ctx, o); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tools) close() { os.RemoveAll(t.dir) }

// find fills the paths.
func (t *tools) find(ctx context.Context, o options) error {
	fmt.Fprintln(o.log, "building the supervisor")
	for _, b := range []struct {
		path *string
		name string
		from string
	}{
		{&t.supervisor, "supervisor", "."},
		{&t.worker, "worker", "./testdata/bench/worker"},
		{&t.server, "server", "./testdata/bench/server"},
		{&t.spawn, "spawn", "./testdata/bench/spawn"},
	} {
		*b.path = filepath.Join(t.dir, b.name)
		// As the README builds a release.
		build := exec.CommandContext(ctx, "go", "build", "-tags", "urfave_cli_no_docs", "-trimpath", "-ldflags", "-s -w", "-o", *b.path, b.from)
		build.Dir, build.Env = t.root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", b.name, err, out)
		}
	}
	if err := t.findNode(ctx, o); err != nil {
		return err
	}
	for name, path := range map[string]*string{"gunicorn": &t.gunicorn, "nginx": &t.nginx} {
		found, err := exec.LookPath(name)
		if err != nil {
			t.missing[name] = name + " is not installed"
		}
		*path = found
	}
	return t.probeEven()
}

// findNode finds node and pm2, or installs them.
func (t *tools) findNode(ctx context.Context, o options) error {
	t.node, t.pm2Script = os.Getenv("NODE"), os.Getenv("PM2")
	if t.pm2Script != "" {
		if t.node == "" {
			t.node, _ = exec.LookPath("node")
		}
	} else {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		sum := sha256.Sum256(packageLock)
		dir := filepath.Join(cache, "supervisor-bench", hex.EncodeToString(sum[:8]))
		modules := filepath.Join(dir, "node_modules")
		if err := install(ctx, dir, o); err != nil {
			t.missing["pm2"] = err.Error()
		} else {
			t.pm2Script = filepath.Join(modules, "pm2", "bin", "pm2")
			if t.node == "" {
				t.node = filepath.Join(modules, "node", "bin", "node")
			}
		}
	}
	if t.node == "" {
		t.node, _ = exec.LookPath("node")
	}
	if t.node == "" {
		t.missing["node"] = "node is not installed"
	}
	return nil
}

// installed is the file that says that npm came to its end.
const installed = "installed"

// install runs npm ci once for a lock.
func install(ctx context.Context, dir string, o options) error {
	if _, err := os.Stat(filepath.Join(dir, installed)); err == nil {
		return nil
	}
	if o.quick {
		return errors.New("not installed yet: run without -quick")
	}
	fmt.Fprintln(o.log, "installing pm2 and node")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, bytes.TrimSpace(out))
	}
	return os.WriteFile(filepath.Join(dir, installed), nil, 0o644)
}

// probeEven asks the supervisor whether it knows balance: even.
func (t *tools) probeEven() error {
	file := filepath.Join(t.dir, "even.json")
	data, err := json.Marshal(map[string]any{"apps": []app{{"name": "web", "script": t.worker, "balance": "even"}}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(t.supervisor, "validate", file)
	cmd.Env = append(os.Environ(), "SUPERVISOR_HOME="+filepath.Join(t.dir, "none"))
	t.even = cmd.Run() == nil
	return nil
}

// describe is the head of the results.
func (t *tools) describe(o options) result {
	r := result{Command: o.command(), When: time.Now().UTC().Truncate(time.Second), Machine: machine(), Versions: make(map[string]string)}
	first := func(name string, args ...string) {
		if slices.Contains(args, "") {
			return
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = t.root
		cmd.Env = append(os.Environ(), "PM2_HOME="+filepath.Join(t.dir, "version"))
		out, err := cmd.CombinedOutput() // nginx says it on stderr
		if err != nil {
			return
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		r.Versions[name] = strings.TrimSpace(lines[len(lines)-1])
	}
	first("supervisor", "git", "describe", "--always", "--dirty", "--exclude", "*")
	r.Versions["go"] = strings.TrimPrefix(runtime.Version(), "go")
	first("node", t.node, "--version")
	if t.pm2Script != "" {
		r.Versions["pm2"] = pm2Version(t.pm2Script)
	}
	first("gunicorn", t.gunicorn, "--version")
	first("nginx", t.nginx, "-v")
	for name, text := range r.Versions { // "gunicorn (version 20.1.0)", "nginx version: nginx/1.22"
		if i := strings.LastIndexAny(text, " /"); i >= 0 {
			text = text[i+1:]
		}
		r.Versions[name] = strings.Trim(text, "v()")
	}
	return r
}

// pm2Version reads it where it is written: pm2 --version wakes its daemon.
func pm2Version(script string) string {
	var p struct{ Version string }
	data, err := os.ReadFile(filepath.Join(filepath.Dir(script), "..", "package.json"))
	if err != nil || json.Unmarshal(data, &p) != nil {
		return ""
	}
	return p.Version
}

// machine is what the figures depend on.
func machine() string {
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	model := ""
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	text := strconv.Itoa(runtime.NumCPU()) + " cpus"
	if model != "" {
		text += " (" + model + ")"
	}
	return text + ", Linux " + kernel
}
