package export

import (
	"slices"
	"strings"
	"testing"
	"time"

	"supervisor/ecosystem"
)

// read makes apps of the keys of one, below a script that is not looked for.
func read(t *testing.T, keys string) []App {
	t.Helper()
	return readAll(t, "apps:\n  - name: web\n    script: ./web\n    "+strings.ReplaceAll(keys, "\n", "\n    "))
}

func readAll(t *testing.T, text string) []App {
	t.Helper()
	eco, err := ecosystem.Parse([]byte(text), ecosystem.Options{File: "/srv/ecosystem.yaml", CPUs: 3})
	if err != nil {
		t.Fatal(err)
	}
	var apps []App
	for i, spec := range eco.Apps {
		a := App{Spec: spec, Command: append([]string{spec.Script}, spec.Args...), Written: map[string]string{}}
		for key, place := range eco.Written[i] {
			if key != "" {
				a.Written[key] = place.Text
			}
		}
		apps = append(apps, a)
	}
	return apps
}

// Each line of want is in the document, in that order, with any lines between them.
func wantLines(t *testing.T, document, want string) {
	t.Helper()
	lines := strings.Split(document, "\n")
	for _, w := range strings.Split(strings.TrimSpace(want), "\n") {
		w = strings.Join(strings.Fields(w), " ")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.Join(strings.Fields(l), " ") == w })
		if i < 0 {
			t.Errorf("no %q (behind those before it) in\n%s", w, document)
			return
		}
		lines = lines[i+1:]
	}
}

func wantWarning(t *testing.T, warnings []Warning, want string) {
	t.Helper()
	key, words, _ := strings.Cut(want, ": ")
	if !slices.ContainsFunc(warnings, func(w Warning) bool { return w.Key == key && strings.Contains(w.Why, words) }) {
		t.Errorf("no warning %q in %+v", want, warnings)
	}
}

// Each story is what some keys of the file become in both targets.
func TestKeysAreCarriedOver(t *testing.T) {
	for _, story := range []struct {
		name, keys        string
		kubernetes, nomad string // lines
		warnings          string // of Kubernetes, one a line
		nomadWarnings     string
	}{
		{name: "a server with a probe", keys: "instances: 2\nport: 3000\nready: {http: 'http://127.0.0.1:$PORT/up', interval: 2s, timeout: 3s}\nlisten_timeout: 20s",
			kubernetes: "replicas: 2\nprogressDeadlineSeconds: 80\ncontainerPort: 3000\nstartupProbe:\npath: /up\nport: 3000\ntimeoutSeconds: 3\nperiodSeconds: 2\nfailureThreshold: 10\nreadinessProbe:\npath: /up\nkind: Service",
			nomad:      "count = 2\nhealth_check = \"checks\"\nhealthy_deadline = \"1m20s\"\nport \"tcp_3000\" {}\ntype = \"http\"\npath = \"/up\"\ninterval = \"2s\"\ntimeout = \"3s\"\n\"PORT\" = \"${NOMAD_PORT_tcp_3000}\""},
		{name: "a server that listens", keys: "listen: 'web=tcp://0.0.0.0:80'",
			kubernetes: "- name: web-80\ncontainerPort: 80\ntcpSocket:\nport: 80\ntargetPort: web-80",
			nomad:      "static = 80\ntype = \"tcp\"",
			warnings:   "listen: LISTEN_FDS"},
		{name: "blue-green", keys: "instances: 3\nreload: {strategy: blue-green}",
			kubernetes: "maxSurge: 100%\nmaxUnavailable: 0",
			nomad:      "canary = 3\nauto_promote = true\nauto_revert = true",
			warnings:   "reload: as soon as a new one is ready"},
		{name: "rolling with room below", keys: "instances: 4\nreload: {max_surge: 0, max_unavailable: 50%}",
			kubernetes: "maxSurge: 0\nmaxUnavailable: 50%",
			nomad:      "max_parallel = 2\nauto_revert = true"},
		{name: "fork", keys: "exec_mode: fork",
			kubernetes: "maxSurge: 0\nmaxUnavailable: 1",
			nomad:      "max_parallel = 1\nauto_revert = true"},
		{name: "stop", keys: "kill_signal: SIGTERM\nkill_timeout: 1500\npre_drain: 7s",
			kubernetes: "terminationGracePeriodSeconds: 9\npreStop:\nsleep:\nseconds: 7",
			nomad:      "kill_signal = \"SIGTERM\"\nkill_timeout = \"1.5s\"\nshutdown_delay = \"7s\""},
		{name: "another signal", keys: "kill_signal: SIGQUIT",
			kubernetes: "name: linux\nstopSignal: SIGQUIT", nomad: "kill_signal = \"SIGQUIT\"", warnings: "kill_signal: ContainerStopSignals"},
		{name: "soak", keys: "soak: 90s\nport: 1", kubernetes: "minReadySeconds: 90\nprogressDeadlineSeconds: 160", nomad: "min_healthy_time = \"1m30s\"\nhealthy_deadline = \"2m40s\""},
		{name: "nothing tells", keys: "min_uptime: 2500", kubernetes: "minReadySeconds: 3", nomad: "health_check = \"task_states\"\nmin_healthy_time = \"2.5s\"",
			warnings: ": no port is known"},
		{name: "registered stopped", keys: "autostart: false", kubernetes: "replicas: 0", nomad: "count = 0"},
		{name: "who and where", keys: "user: 33\ngroup: 34\ncwd: /srv/web", kubernetes: "workingDir: /srv/web\nrunAsUser: 33\nrunAsGroup: 34", nomad: "user = \"33\"",
			nomadWarnings: "cwd: artifact"},
		{name: "names of this machine", keys: "user: www\ncwd: web", warnings: "user: www\ncwd: WORKDIR"},
		{name: "memory", keys: "limits: {as: 1G, rss: 300M, nofile: 100}", kubernetes: "memory: 300Mi", nomad: "memory = 300",
			warnings: "limits: nofile", nomadWarnings: "limits: nofile"},
		{name: "restarts", keys: "max_restarts: 5\nrestart_delay: 2s", nomad: "attempts = 5\ndelay = \"2s\"\ninterval = \"18s\"\nmode = \"fail\"", warnings: "max_restarts: gives up\nrestart_delay: of its own"},
		{name: "runs once", keys: "autorestart: false", nomad: "unlimited = false\nattempts = 0", warnings: "autorestart: Job"},
		{name: "a command asks", keys: "ready: 'exec: ./check --port \"a b\"'", kubernetes: "exec:\n- ./check\n- --port\n- a b",
			nomad: "health_check = \"task_states\"", nomadWarnings: "ready: Consul"},
		{name: "a socket is asked", keys: "ready: unix:run/$SUPERVISOR_WORKER.sock", warnings: "ready: SUPERVISOR_WORKER"},
		{name: "loopback", keys: "listen: tcp://127.0.0.1:3000", warnings: "listen: every address"},
		{name: "count of this machine", keys: "instances: -1", kubernetes: "replicas: 2", warnings: "instances: choose"},
		{name: "what nobody does there", keys: "treekill: true\nprotocol: systemd\nwait_ready: true\nstop_exit_codes: 3\numask: '022'\nnice: 5\nout_file: a.log\nnode_drain: true\nincrement_var: X",
			warnings:      "treekill: main process\nprotocol: nobody\nwait_ready: nobody hears\nstop_exit_codes: told apart\numask: can't\nnice: can't\nout_file: prints\nincrement_var: same for all",
			nomadWarnings: "treekill: main process\nprotocol: nobody\nwait_ready: nobody hears\nstop_exit_codes: told apart\numask: can't\nnice: can't\nout_file: prints\nincrement_var: same for all"},
	} {
		t.Run(story.name, func(t *testing.T) {
			apps := read(t, story.keys)
			document, warnings, err := Kubernetes(apps, "example/web:1")
			if err != nil {
				t.Fatal(err)
			}
			if story.kubernetes != "" {
				wantLines(t, string(document), story.kubernetes)
			}
			for w := range strings.Lines(story.warnings) {
				wantWarning(t, warnings, strings.TrimSpace(w))
			}
			document, warnings = Nomad("web", apps, "")
			if story.nomad != "" {
				wantLines(t, string(document), story.nomad)
			}
			for w := range strings.Lines(story.nomadWarnings) {
				wantWarning(t, warnings, strings.TrimSpace(w))
			}
		})
	}
}

// The same apps give the same bytes and warnings.
func TestNothingIsLeftToChance(t *testing.T) {
	apps := read(t, "env: {A: 1, B: 2, C: 3, D: 4}\nnice: 1\numask: '022'\ntreekill: true\nbalance: even\nlog_type: json\nlimits: {nofile: 1, core: 0}")
	first, warnings, err := Kubernetes(apps, "i")
	if err != nil {
		t.Fatal(err)
	}
	job, more := Nomad("n", apps, "i")
	for range 20 {
		again, w, _ := Kubernetes(apps, "i")
		jobAgain, m := Nomad("n", apps, "i")
		if string(again) != string(first) || string(jobAgain) != string(job) || !slices.Equal(w, warnings) || !slices.Equal(m, more) {
			t.Fatalf("twice the same apps, and not the same:\n%s\n%s", first, again)
		}
	}
}

// Nothing is warned of that the file does not write, but what differs for everybody.
func TestAPlainAppHasFewWarnings(t *testing.T) {
	_, warnings, err := Kubernetes(read(t, "port: 3000\nkill_signal: SIGTERM"), "i")
	if err != nil || len(warnings) > 0 {
		t.Errorf("%v, %v", warnings, err)
	}
	if _, warnings = Nomad("web", read(t, "port: 3000"), ""); len(warnings) > 0 {
		t.Error(warnings)
	}
}

func TestNamesAreLabels(t *testing.T) {
	for name, want := range map[string]string{
		"web": "web", "Web_1": "web-1", "a.b": "a-b", "1st": "x1st", "ä": "x", "-": "x",
		strings.Repeat("a", 62) + "_b": strings.Repeat("a", 62),
	} {
		if got := label(name); got != want {
			t.Errorf("label(%q) = %q, want %q", name, got, want)
		}
	}
	var r report
	apps := readAll(t, "apps:\n  - {name: a_b, script: x}\n  - {name: a.b, script: x}\n  - {name: a-b, script: x}\n")
	if got := r.names(apps); !slices.Equal(got, []string{"a-b", "a-b-2", "a-b-3"}) {
		t.Error(got)
	}
}

func TestKubernetesExpandsNothing(t *testing.T) {
	for text, want := range map[string]string{"a$b": "a$b", "$(X)": "$$(X)", "$$": "$$$$", "$5 $(": "$$5 $$("} {
		if got := literal(text); string(got) != want {
			t.Errorf("literal(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestProbesKnowTheAppsVariables(t *testing.T) {
	a := read(t, "env: {PORT: 80, A_1: x}")[0]
	for text, want := range map[string]string{
		"$PORT/${A_1}": "80/x", "a$": "a$", "$ ${ ${}": "$ ${ ${}", "$$PORT": "$80", "${PORT": "${PORT", "": "",
	} {
		if got, missing := a.expand(text); got != want || missing != "" {
			t.Errorf("expand(%q) = %q, %q, want %q", text, got, missing, want)
		}
	}
	if _, missing := a.expand("$PORT $B ${C}"); missing != "B" {
		t.Errorf("missing is %q", missing)
	}
}

func TestSecondsAreRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]int{0: 0, time.Millisecond: 1, time.Second: 1, 1001 * time.Millisecond: 2} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%s) = %d, want %d", d, got, want)
		}
	}
}
