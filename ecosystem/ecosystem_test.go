package ecosystem

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"supervisor/supervisor/state"
)

var update = flag.Bool("update", false, "write the golden files anew")

// disk is the world that the golden files see, at /srv/app.
func disk() fstest.MapFS {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: 0o644} }
	program := &fstest.MapFile{Mode: 0o755}
	return fstest.MapFS{
		"srv/app/app.js":             text(""),
		"srv/app/worker.py":          text(""),
		"srv/app/job.rb":             text(""),
		"srv/app/data.txt":           text(""),
		"srv/app/server":             program,
		"srv/app/node_modules/x":     text(""),
		"srv/app/main.go":            text("package main\n"),
		"srv/app/cmd/web/main.go":    text("// Copyright\n\n/* x */ package main // yes\n"),
		"srv/app/cmd/lib/lib.go":     text("package lib\n"),
		"srv/app/cmd/lib/gen.go":     text("//go:build ignore\n\npackage main\n"),
		"srv/app/current/app.js":     text(""),
		"srv/app/current/.env":       text("# comment\nFROM_FILE=file\nBOTH=file\nQUOTED=\"a b\"\n"),
		"srv/app/current/more.env":   text("BOTH=more\n"),
		"srv/app/broken.env":         text("A=1\n\nB!=2\nC=3\n"),
		"srv/app/unclosed.env":       text("A=1\nB=\"x\nC=3\n"),
		"usr/bin/node":               program,
		"usr/bin/python3":            program,
		"usr/bin/server":             program,
		"usr/bin/gunicorn":           program,
		"usr/bin/npm":                program,
		"opt/other/bin/node":         program,
		"usr/bin/README":             text(""),
		"srv/app/envs/app.js":        text(""),
		"srv/app/gunicorn/README.md": text(""),
	}
}

func testOptions(file string) Options {
	return Options{File: "/srv/app/" + file, CPUs: 4, Disk: disk(), Path: "bin::/usr/local/bin:/usr/bin"}
}

// options of a golden file: a first line like "# --env production -i 3".
func goldenOptions(t *testing.T, file string, src []byte) Options {
	options := testOptions(filepath.Base(file))
	first, _, _ := strings.Cut(string(src), "\n")
	words := strings.Fields(strings.TrimPrefix(first, "#"))
	if !strings.HasPrefix(first, "# -") {
		return options
	}
	for i := 0; i+1 < len(words); i += 2 {
		text := words[i+1]
		switch words[i] {
		case "--env":
			options.EnvName = &text
		case "-i":
			options.Instances = &text
		case "--name":
			options.Rename = &text
		default:
			t.Fatalf("%s: option %s", file, words[i])
		}
	}
	return options
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s:\n--- got\n%s--- want\n%s", file, got, want)
	}
}

func files(t *testing.T, folder string) []string {
	var found []string
	for _, pattern := range []string{"*.yaml", "*.json"} {
		match, err := filepath.Glob(filepath.Join("testdata", folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, match...)
	}
	if len(found) == 0 {
		t.Fatalf("no files in testdata/%s", folder)
	}
	return found
}

func TestBadFilesDrawTheirComplaints(t *testing.T) {
	for _, file := range files(t, "bad") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(src, goldenOptions(t, file, src))
			var complaints Complaints
			if !errors.As(err, &complaints) {
				t.Fatalf("error is %v, want Complaints", err)
			}
			golden(t, file+".want", strings.ReplaceAll(err.Error(), "/srv/app/"+filepath.Base(file)+":", "FILE:")+"\n")
		})
	}
}

func TestGoodFilesBecomeSpecs(t *testing.T) {
	for _, file := range files(t, "good") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			eco, err := Parse(src, goldenOptions(t, file, src))
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, warning := range eco.Warnings {
				b.WriteString("warning: " + strings.ReplaceAll(warning.String(), "/srv/app/"+filepath.Base(file)+":", "FILE:") + "\n")
			}
			for _, spec := range eco.Apps {
				b.WriteString(shown(t, spec))
			}
			golden(t, file+".want", b.String())
		})
	}
}

// shown is what of a spec differs from the defaults.
func shown(t *testing.T, spec state.Spec) string {
	fields := func(s state.Spec) map[string]json.RawMessage {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	plain, differs := fields(defaults()), map[string]json.RawMessage{}
	for key, value := range fields(spec) {
		if string(plain[key]) != string(value) {
			differs[key] = value
		}
	}
	delete(differs, "file")
	text, err := json.MarshalIndent(differs, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// parse is Parse of a text that has to be good.
func parse(t *testing.T, src string, options Options) *Ecosystem {
	t.Helper()
	eco, err := Parse([]byte(src), options)
	if err != nil {
		t.Fatal(err)
	}
	return eco
}

func TestSampleIsValid(t *testing.T) {
	eco := parse(t, string(Sample()), testOptions("ecosystem.yaml"))
	if len(eco.Warnings) > 0 {
		t.Errorf("warnings: %v", eco.Warnings)
	}
	want := defaults()
	want.Name, want.Script, want.Cwd, want.File = "web", "app.js", "/srv/app", "/srv/app/ecosystem.yaml"
	want.Instances, want.Env = 2, map[string]string{"NODE_ENV": "development", "PORT": "3000"}
	if keys := state.Diff(want, eco.Apps[0]); keys != nil {
		t.Errorf("the example says other than the defaults in %v", keys)
	}
}

func TestRealDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	options := Options{File: filepath.Join(dir, "eco.yaml"), Disk: os.DirFS("/"), Path: os.Getenv("PATH")}
	parse(t, "apps: [{script: run}, {script: ./run, name: two}, {script: sh, name: three}]", options)
	_, err := Parse([]byte("apps: [{script: ./gone}]"), options)
	if err == nil || !strings.Contains(err.Error(), "no such file: "+dir+"/gone") {
		t.Errorf("error %v", err)
	}
	program, err := Find(state.Spec{Script: "sh", Cwd: dir}, os.DirFS("/"), "/bin")
	if err != nil || program.Path != "/bin/sh" {
		t.Errorf("found %v, %v", program, err)
	}
}

var _ fs.FS = fstest.MapFS(nil)
