package ecosystem

import (
	"fmt"
	"strings"
	"testing"
)

func TestMetricsAreAnAddress(t *testing.T) {
	for value, want := range map[string]string{
		"127.0.0.1:9615": "tcp://127.0.0.1:9615", ":9615": "tcp://:9615", "tcp://[::1]:9615": "tcp://[::1]:9615",
		"unix:run/metrics.sock": "unix:/srv/app/run/metrics.sock", "false": "<nil>", "''": "<nil>", "": "<nil>", "none": "<nil>",
	} {
		eco := parse(t, "metrics: "+value+"\napps: [{script: app.js}]\n", testOptions("eco.yaml"))
		if got := fmt.Sprint(eco.Metrics); got != want {
			t.Errorf("metrics: %s is %s, want %s", value, got, want)
		}
	}
	for value, want := range map[string]string{
		"9615": "eco.yaml:1:10: metrics: \"9615\" is a port alone: write 127.0.0.1:9615", "true": "expected a text",
		"127.0.0.1": "is not an address", "127.0.0.1:0": "is not a port", "unix:@x": "abstract", "[a]": "expected a text", "http://x:1": "is not an address",
	} {
		_, err := Parse([]byte("metrics: "+value+"\napps: [{script: app.js}]\n"), testOptions("eco.yaml"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("metrics: %s: %v, want %q", value, err, want)
		}
	}
}

// Written has the place and the text of each key, by its own name.
func TestWhatIsWrittenIsKnown(t *testing.T) {
	eco := parse(t, "apps:\n  - script: app.js\n    uid: 33\n    env: {A: b}\n    killTimeout: 3s\n", testOptions("eco.yaml"))
	for key, want := range map[string]Place{
		"":             {2, 5, "apps[0]", ""},
		"user":         {3, 5, "apps[0].uid", "33"},
		"env":          {4, 5, "apps[0].env", ""},
		"kill_timeout": {5, 5, "apps[0].killTimeout", "3s"},
	} {
		if got := eco.Written[0][key]; got != want {
			t.Errorf("%q is at %+v, want %+v", key, got, want)
		}
	}
	if _, ok := eco.Written[0]["uid"]; ok || len(eco.Written[0]) != 5 {
		t.Errorf("written: %+v", eco.Written[0])
	}
}

func TestCommandIsForAnotherMachine(t *testing.T) {
	for _, c := range []struct{ app, want string }{
		{"{script: app.js, args: a b}", "[node app.js a b]"},
		{"{script: ./worker.py, interpreter: python3, interpreter_args: -u}", "[python3 -u ./worker.py]"},
	} {
		options := testOptions("eco.yaml")
		spec := parse(t, "apps: ["+c.app+"]\n", options).Apps[0]
		p := Program{Path: "/srv/app/" + spec.Script, Interpreter: "/usr/bin/node"}
		if got := fmt.Sprint(p.Command(spec)); got != c.want {
			t.Errorf("%s: %s, want %s", c.app, got, c.want)
		}
	}
	spec := parse(t, "apps: [{script: app.js, args: [x]}]\n", testOptions("eco.yaml")).Apps[0]
	spec.Script = "server"
	for _, c := range []struct {
		p    Program
		want string
	}{
		{Program{Path: spec.Cwd + "/server"}, "[./server x]"}, // a file that won over PATH
		{Program{Path: "/usr/bin/server"}, "[server x]"},
		{Program{Path: spec.Cwd + "/server", Go: true}, "[./server x]"},
	} {
		if got := fmt.Sprint(c.p.Command(spec)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.p, got, c.want)
		}
	}
}
