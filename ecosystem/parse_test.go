package ecosystem

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"supervisor/signals"
	"supervisor/supervisor/state"
)

func TestEnvNameMergesOverEnv(t *testing.T) {
	const src = `apps:
  - script: app.js
    port: 3000
    env_file: current/.env
    env: {A: env, B: env, BOTH: env}
    env_production: {B: prod, PORT: 80}
    env_staging:
  - script: worker.py
`
	for _, c := range []struct{ name, want string }{
		{"", "map[A:env B:env BOTH:env FROM_FILE:file PORT:3000 QUOTED:a b]"},
		{"production", "map[A:env B:prod BOTH:env FROM_FILE:file PORT:80 QUOTED:a b]"},
		{"staging", "map[A:env B:env BOTH:env FROM_FILE:file PORT:3000 QUOTED:a b]"},
	} {
		options := testOptions("eco.yaml")
		options.EnvName = &c.name
		eco := parse(t, src, options)
		if got := fmt.Sprint(eco.Apps[0].Env); got != c.want {
			t.Errorf("--env %s: %s, want %s", c.name, got, c.want)
		}
		if eco.Apps[1].Env != nil {
			t.Errorf("the other app has %v", eco.Apps[1].Env)
		}
	}
}

func TestTwoAppsWithOnePortAreWarnedAbout(t *testing.T) {
	eco := parse(t, "apps:\n  - {script: app.js, port: 3000}\n  - {script: worker.py, port: 3000}\n", testOptions("eco.yaml"))
	if len(eco.Warnings) != 1 || eco.Warnings[0].String() != `/srv/app/eco.yaml:3:31: apps[1].port: port 3000 is also that of the app "app" at line 2` {
		t.Errorf("warnings: %v", eco.Warnings)
	}
}

func TestAnAppThatIsBalancedEvenlyHasAPreDrain(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "balance: shared": 0, "balance: even": 100 * time.Millisecond,
		"balance: even, pre_drain: 0": 0, "balance: even, pre_drain: 2s": 2 * time.Second, "pre_drain: 1s": time.Second,
	} {
		app := parse(t, "apps:\n  - {script: app.js, "+value+"}\n", testOptions("eco.yaml")).Apps[0]
		if app.PreDrain != want {
			t.Errorf("%q: pre_drain is %s, want %s", value, app.PreDrain, want)
		}
	}
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		spec state.Spec
		want string
	}{
		{state.Spec{Script: "app.js"}, "{/srv/app/app.js /usr/bin/node false}"},
		{state.Spec{Script: "app.js", Env: map[string]string{"PATH": "/opt/other/bin"}}, "{/srv/app/app.js /opt/other/bin/node false}"},
		{state.Spec{Script: "server"}, "{/srv/app/server  false}"}, // a file under cwd wins over PATH
		{state.Spec{Script: "gunicorn"}, "{/usr/bin/gunicorn  false}"},
		{state.Spec{Script: "npm", Interpreter: "node"}, "{/usr/bin/npm /usr/bin/node false}"},
		{state.Spec{Script: "main.go"}, "{/srv/app/main.go  true}"},
		{state.Spec{Script: "cmd/web"}, "{/srv/app/cmd/web  true}"},
		{state.Spec{Script: "."}, "{/srv/app  true}"},
		{state.Spec{Script: "server", Interpreter: "none"}, "{/srv/app/server  false}"},
		{state.Spec{Script: "app.js", Interpreter: "none"}, "/srv/app/app.js can't be executed"},
		{state.Spec{Script: "app.js/x"}, "no such file: /srv/app/app.js/x"},
	} {
		c.spec.Cwd = "/srv/app"
		program, err := Find(c.spec, disk(), "bin::/usr/local/bin:/usr/bin")
		got := fmt.Sprint(program)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.spec.Script, got, c.want)
		}
	}
}

func TestFromScript(t *testing.T) {
	options := testOptions("")
	spec, err := FromScript(state.Script{Path: "./app.js", Args: []string{"-v"}, Cwd: "/srv/app"}, options)
	want := defaults()
	want.Name, want.Script, want.Args, want.Cwd = "app", "./app.js", []string{"-v"}, "/srv/app"
	if err != nil || state.Diff(spec, want) != nil || spec.File != "" {
		t.Errorf("%+v, %v", spec, err)
	}
	two, name, bad := "2", "web", "-x"
	options.Instances, options.Rename = &two, &name
	if spec, err = FromScript(state.Script{Path: ".", Cwd: "/srv/app"}, options); err != nil || spec.Name != "web" || spec.Instances != 2 {
		t.Errorf("%+v, %v", spec, err)
	}
	for _, c := range []struct {
		path    string
		options Options
		want    string
	}{
		{"gone.js", testOptions(""), `cannot start "gone.js": "gone.js" is neither a file in /srv/app nor a program in PATH`},
		{"app.js", Options{Rename: &bad}, `cannot start "app.js": --name: "-x" can't be a name: on a command line it is something else`},
		{"app.js", Options{Instances: &bad}, `cannot start "app.js": -i: "-x" is not a number of instances: write n, max (all cpus), 0 (the same) or -n (all but n)`},
		{"app.js", Options{EnvName: &name}, `cannot start "app.js": --env is for an ecosystem file`},
		{"/", Options{}, `cannot start "/": --name: "/" can't be a name: it has '/' in it`},
		{"", Options{}, `cannot start "": not a script`},
	} {
		if _, err := FromScript(state.Script{Path: c.path, Cwd: "/srv/app"}, c.options); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.path, err, c.want)
		}
	}
}

func TestComplaintWithoutPosition(t *testing.T) {
	for _, c := range []struct {
		complaint Complaint
		want      string
	}{
		{Complaint{"e.yaml", 3, 5, "apps[0].name", "bad"}, "e.yaml:3:5: apps[0].name: bad"},
		{Complaint{"e.yaml", 3, 0, "", "bad"}, "e.yaml:3: bad"},
		{Complaint{"e.yaml", 0, 0, "--env", "bad"}, "e.yaml: --env: bad"},
		{Complaint{"", 0, 0, "", "bad"}, "bad"},
	} {
		if got := c.complaint.String(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// valid fails where a spec breaks what the rest of the program relies on.
func valid(t *testing.T, s state.Spec) {
	t.Helper()
	surge, unavailable := s.Reload.MaxSurge.Of(s.Instances), s.Reload.MaxUnavailable.Of(s.Instances)
	for broken, is := range map[string]bool{
		"name":              wrongName(s.Name) != "" || strings.Contains(s.Name, "/"),
		"script":            s.Script == "",
		"cwd":               !path.IsAbs(s.Cwd),
		"instances":         s.Instances < 1 || s.Instances > MaxInstances,
		"exec_mode":         s.Mode != state.Cluster && s.Mode != state.Fork,
		"timeouts":          s.ListenTimeout <= 0 || s.KillTimeout <= 0,
		"durations":         s.MinUptime < 0 || s.RestartDelay < 0 || s.ExpBackoff < 0 || s.ExpBackoff > 15*time.Second || s.Soak != nil && *s.Soak < 0,
		"hot loop":          s.ExpBackoff == 0 && s.RestartDelay == 0,
		"surge":             surge < 0 || unavailable < 0 || surge == 0 && unavailable == 0,
		"kill_signal":       !signals.Catchable(syscall.Signal(s.KillSignal)),
		"not yet":           s.PreDrain != 0,
		"silent tableflip":  s.Protocol == state.ProtocolTableflip && !s.WaitReady,
		"log files":         s.OutFile != "" && !path.IsAbs(s.OutFile) || s.ErrorFile != "" && !path.IsAbs(s.ErrorFile),
		"log":               s.Log.MaxSize == 0 || s.Log.MaxFiles == 0,
		"umask":             s.Umask != nil && (*s.Umask < 0 || *s.Umask > 0o777),
		"instance_var":      s.InstanceVar == "",
		"nice":              s.Nice != nil && (*s.Nice < -20 || *s.Nice > 19),
		"pre-filled reload": s.Mode == state.Fork && (surge != 0 || unavailable != 1),
	} {
		if is {
			t.Errorf("%s: %+v", broken, s)
		}
	}
	for name, text := range s.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(text, "\x00") {
			t.Errorf("env %q=%q", name, text)
		}
	}
	for _, l := range s.Listen {
		if l.Network != "tcp" && (l.Network != "unix" || !path.IsAbs(l.Address)) {
			t.Errorf("listen %+v", l)
		}
	}
	for _, l := range s.Limits {
		if l.Soft > l.Hard {
			t.Errorf("limit %+v", l)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, folder := range []string{"good", "bad"} {
		entries, err := os.ReadDir("testdata/" + folder)
		if err != nil {
			f.Fatal(err)
		}
		for _, entry := range entries {
			if src, err := os.ReadFile("testdata/" + folder + "/" + entry.Name()); err == nil && !strings.HasSuffix(entry.Name(), ".want") {
				f.Add(src)
			}
		}
	}
	f.Add(Sample())
	world := disk()
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, options := range []Options{{File: "/srv/app/eco.yaml", CPUs: 2}, {File: "/srv/app/eco.yaml", CPUs: 2, Disk: world, Path: "/usr/bin"}} {
			eco, err := Parse(src, options)
			var complaints Complaints
			switch {
			case err == nil:
				if len(eco.Apps) == 0 {
					t.Fatal("no apps and no complaint")
				}
				for _, spec := range eco.Apps {
					valid(t, spec)
				}
			case !errors.As(err, &complaints) || len(complaints) == 0:
				t.Fatalf("error %v", err)
			default:
				for _, c := range complaints {
					if c.File == "" || c.Line < 1 || c.Message == "" {
						t.Fatalf("complaint %+v", c)
					}
					if lines := strings.Count(string(src), "\n") + strings.Count(string(src), "\r") + 2; c.File == options.File && c.Line > 3*lines {
						t.Fatalf("complaint %+v in a file of %d lines", c, lines)
					}
				}
			}
		}
	})
}

func FuzzEnvFile(f *testing.F) {
	for _, text := range []string{"A=1\n", "# x\nexport B='y z'\n", "B!=2", "A=\"x", "=", "A", "A=${B}$C\\n\n\n", "\r\nX: y\r\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		world := disk()
		world["srv/app/fuzz.env"] = world["srv/app/app.js"]
		world["srv/app/fuzz.env"].Data = src
		eco, err := Parse([]byte("script: app.js\nenv_file: fuzz.env\n"), Options{File: "/srv/app/eco.yaml", Disk: world, Path: "/usr/bin"})
		if err == nil {
			valid(t, eco.Apps[0])
			return
		}
		for _, c := range err.(Complaints) {
			if c.Line < 1 || c.File != "/srv/app/fuzz.env" {
				t.Fatalf("complaint %+v", c)
			}
		}
	})
}

func BenchmarkParse1000Apps(b *testing.B) {
	var text strings.Builder
	text.WriteString("apps:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  - name: app%d\n    script: app.js\n    instances: 2\n    kill_timeout: 8s\n    listen: [tcp://127.0.0.1:%d]\n    env: {NODE_ENV: production, N: %d}\n    reload: {max_surge: 50%%}\n", i, i+1000, i)
	}
	src := []byte(text.String())
	options := testOptions("eco.yaml")
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if eco, err := Parse(src, options); err != nil || len(eco.Apps) != 1000 {
			b.Fatal(err)
		}
	}
}

func TestFormatsOfLogLines(t *testing.T) {
	for value, want := range map[string]string{
		"":                                     "",
		"time: true":                           "YYYY-MM-DDTHH:mm:ss",
		"time: false":                          "",
		"log_date_format: 'HH:mm:ss Z'":        "HH:mm:ss Z",
		"time: true, log_date_format: YYYY":    "YYYY",
		"log_date_format: false":               "",
		"log_type: json":                       "json",
		"log_type: json, logDateFormat: HH":    "HH json",
		"log_type: raw, log_date_format: 'HH'": "HH",
	} {
		app := parse(t, "apps:\n  - {script: app.js, "+value+"}\n", testOptions("eco.yaml")).Apps[0]
		if got := strings.TrimSpace(app.LogDateFormat + " " + string(app.LogType)); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
	for format, want := range map[string]string{"Q": `"Q", which is no token`, "'[HH'": "without its ]", "''": "", "[HH]": "expected a text"} {
		_, err := Parse([]byte("apps:\n  - script: app.js\n    log_date_format: "+format+"\n"), testOptions("eco.yaml"))
		if want != "" && (err == nil || !strings.Contains(err.Error(), "eco.yaml:3:22: apps[0].log_date_format: ") || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", format, err, want)
		}
	}
}
