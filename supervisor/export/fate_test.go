package export

import (
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"supervisor/ecosystem"
	"supervisor/supervisor/state"
)

// Every key of an ecosystem file that works has a fate, and so has each that is to come.
func TestEveryKeyHasAFate(t *testing.T) {
	for _, k := range ecosystem.Keys() {
		_, known := fateOf(k.Name)
		switch k.Status {
		case ecosystem.Works, ecosystem.Later:
			if !known {
				t.Errorf("%s: what becomes of it in Kubernetes and Nomad?", k.Name)
			}
		default:
			if known {
				t.Errorf("%s is refused or ignored by the parser: it can have no fate", k.Name)
			}
		}
	}
	spec := reflect.TypeFor[state.Spec]()
	for i := range spec.NumField() {
		if key := spec.Field(i).Tag.Get("key"); key != "-" {
			if _, known := fateOf(key); !known {
				t.Errorf("%s: what becomes of it in Kubernetes and Nomad?", key)
			}
		}
	}
	if _, known := fateOf("nonsense"); known {
		t.Error("nonsense has a fate")
	}
}

// written is each key with a value that is not its default, and what it needs beside it.
var written = map[string]struct{ value, with string }{
	"name": {value: "other"}, "namespace": {value: "shop"}, "script": {value: "./other"}, "args": {value: "[a]"},
	"interpreter": {value: "node"}, "interpreter_args": {"[--inspect]", "interpreter: node"}, "cwd": {value: "/srv/x"},
	"instances": {value: "3"}, "exec_mode": {value: "fork"}, "autostart": {value: "false"}, "depends_on": {value: "db"},
	"listen": {value: "tcp://0.0.0.0:80"}, "protocol": {value: "none"}, "balance": {value: "even"},
	"wait_ready": {value: "true"}, "ready": {value: "tcp://127.0.0.1:80"}, "listen_timeout": {value: "33s"}, "soak": {value: "7s"},
	"pre_drain": {value: "9s"}, "node_drain": {"false", "interpreter: node"},
	"kill_signal": {value: "SIGTERM"}, "kill_timeout": {value: "3s"}, "treekill": {value: "false"}, "shutdown_with_message": {"true", "interpreter: node"},
	"reload": {value: "{max_surge: 0, max_unavailable: 1}"}, "autorestart": {value: "false"}, "min_uptime": {value: "4s"}, "max_restarts": {value: "3"},
	"restart_delay": {value: "2s"}, "exp_backoff_restart_delay": {value: "2s"}, "stop_exit_codes": {value: "3"},
	"env": {value: "{A: b}"}, "env_file": {value: "web.env"}, "port": {value: "3000"}, "instance_var": {value: "SLOT"}, "increment_var": {"PORT", "port: 3000"},
	"out_file": {value: "out.log"}, "error_file": {value: "err.log"}, "merge_logs": {value: "true"}, "disable_logs": {value: "true"},
	"log": {value: "{max_size: 3M}"}, "log_type": {value: "json"}, "log_date_format": {value: "YYYY"}, "time": {value: "true"},
	"user": {value: "33"}, "group": {"34", "user: 33"}, "umask": {value: "'022'"}, "nice": {value: "5"}, "limits": {value: "{nofile: 5}"},
}

// nothing are the keys that change nothing where each worker has a place of its own.
var nothing = map[string]bool{"intercept": true, "filter_env": true}

// Every key that works makes another document, or a warning, of both targets: no value is
// lost in silence.
func TestNoKeyIsLostInSilence(t *testing.T) {
	for _, k := range ecosystem.Keys() {
		if k.Status != ecosystem.Works || nothing[k.Name] {
			continue
		}
		w, known := written[k.Name]
		if !known {
			t.Errorf("%s: no value to export", k.Name)
			continue
		}
		for _, image := range []string{"", "example/web:1"} {
			without, with := exported(t, image, w.with), exported(t, image, w.with+"\n"+k.Name+": "+w.value)
			for target := range with {
				if with[target] == without[target] {
					t.Errorf("%s with image %q: %s: %s is lost in silence:\n%s", target, image, k.Name, w.value, with[target])
				}
			}
		}
	}
}

// exported is what becomes of an app with these keys, warnings included, by target.
func exported(t *testing.T, image, keys string) map[string]string {
	t.Helper()
	text := "apps:\n  - name: db\n    script: ./web\n  -\n"
	for _, first := range []string{"name: web", "script: ./web"} {
		if key, _, _ := strings.Cut(first, ":"); !strings.Contains("\n"+keys, "\n"+key+":") {
			text += "    " + first + "\n"
		}
	}
	text += "    " + strings.ReplaceAll(strings.TrimSpace(keys), "\n", "\n    ") + "\n"
	program, disk := &fstest.MapFile{Mode: 0o755}, fstest.MapFS{"srv/x": {Mode: 0o755 | fs.ModeDir}, "srv/web.env": {Data: []byte("FROM=file\n")}}
	for _, path := range []string{"srv/web", "srv/other", "srv/x/web", "bin/node"} {
		disk[path] = program
	}
	eco, err := ecosystem.Parse([]byte(text), ecosystem.Options{File: "/srv/ecosystem.yaml", CPUs: 3, Disk: disk, Path: "/bin"})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var apps []App
	for i, spec := range eco.Apps {
		found, err := ecosystem.Find(spec, disk, "/bin")
		if err != nil {
			t.Fatal(err)
		}
		a := App{Spec: spec, Command: found.Command(spec), Written: map[string]string{}}
		for key, place := range eco.Written[i] {
			if key != "" {
				a.Written[key] = place.Text
			}
		}
		apps = append(apps, a)
	}
	kubernetes, lost, err := Kubernetes(apps, image)
	if err != nil {
		t.Fatal(err)
	}
	nomad, more := Nomad("job", apps, image)
	return map[string]string{"Kubernetes": fmt.Sprintf("%s%+v", kubernetes, lost), "Nomad": fmt.Sprintf("%s%+v", nomad, more)}
}
