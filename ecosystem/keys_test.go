package ecosystem

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

// goodValues has a value for each key that works, other than its default.
func goodValues() map[string]string {
	return map[string]string{
		"name": "other", "script": "worker.py", "cwd": "current", "args": "-v", "interpreter": "python3", "interpreter_args": "-u",
		"namespace": "shop", "instances": "2", "exec_mode": "fork", "autostart": "false", "depends_on": "[db]",
		"listen": "tcp://:80", "intercept": "false", "protocol": "systemd", "wait_ready": "true", "ready": "tcp://:80", "listen_timeout": "1s", "soak": "1s", "balance": "even", "pre_drain": "1s", "node_drain": "false",
		"kill_signal": "SIGTERM", "kill_timeout": "1m", "treekill": "true", "shutdown_with_message": "true", "reload": "{max_surge: 2}",
		"autorestart": "false", "min_uptime": "2s", "max_restarts": "3", "restart_delay": "1s", "exp_backoff_restart_delay": "1s", "stop_exit_codes": "0",
		"env": "{A: b}", "env_file": "current/.env", "port": "80", "filter_env": "true", "instance_var": "SLOT", "increment_var": "PORT",
		"out_file": "out.log", "error_file": "err.log", "merge_logs": "true", "disable_logs": "true", "log": "{max_size: 1M}", "log_type": "json", "log_date_format": `"HH:mm [o'clock]"`, "time": "true",
		"user": "www", "group": "www", "umask": `"022"`, "nice": "1", "limits": "{nofile: 5}",
	}
}

// file is one app with one more key.
func file(key, value string) string {
	if slices.Contains([]string{"script", "exec", "cmd", "command"}, key) {
		return "apps:\n  - {" + key + ": " + value + "}\n"
	}
	return "apps:\n  - script: app.js\n    " + key + ": " + value + "\n" +
		"  - {name: db, script: app.js}\n" // to depend on
}

func spellingsOf(key Key) []string {
	names := append([]string{key.Name}, key.Aliases...)
	for _, name := range slices.Clone(names) {
		names = append(names, camel(name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestEveryKeyOfTheTableIsTakenUnderEachName(t *testing.T) {
	values := goodValues()
	for _, key := range Keys() {
		if key.Meaning == "" {
			t.Errorf("%s: no meaning", key.Name)
		}
		for _, name := range spellingsOf(key) {
			eco, err := Parse([]byte(file(name, values[key.Name])), testOptions("eco.yaml"))
			switch key.Status {
			case Works:
				if err != nil {
					t.Errorf("%s: %v", name, err)
				} else if len(eco.Warnings) > 0 {
					t.Errorf("%s: warned: %v", name, eco.Warnings)
				}
			case Ignored:
				if err != nil || len(eco.Warnings) != 1 {
					t.Errorf("%s: error %v, want one warning", name, err)
				}
			case Later, Refused:
				if _, err := Parse([]byte(file(name, "1")), testOptions("eco.yaml")); err == nil {
					t.Errorf("%s: 1 was taken", name)
				} else if key.Status == Later && !strings.Contains(err.Error(), name+" is not supported yet") {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := Parse([]byte(file(name, "false")), testOptions("eco.yaml")); err != nil {
					t.Errorf("%s: false: %v", name, err)
				}
			}
		}
	}
}

// A key that is taken but changes nothing would be silently without effect.
func TestEveryKeyThatWorksChangesTheSpec(t *testing.T) {
	plain := parse(t, "apps:\n  - script: app.js\n", testOptions("eco.yaml")).Apps[0]
	values := goodValues()
	for _, key := range Keys() {
		value, ok := values[key.Name]
		if key.Status != Works {
			if ok {
				t.Errorf("%s: has a value but does not work", key.Name)
			}
			continue
		}
		if !ok {
			t.Errorf("%s: no value in goodValues", key.Name)
			continue
		}
		if state.Diff(plain, parse(t, file(key.Name, value), testOptions("eco.yaml")).Apps[0]) == nil {
			t.Errorf("%s: %s changes nothing", key.Name, value)
		}
	}
}

func TestDefaultsAreWhatTheTableSays(t *testing.T) {
	plain := parse(t, "apps:\n  - script: app.js\n", testOptions("eco.yaml")).Apps[0]
	inWords := []string{"name", "cwd", "interpreter", "soak", "pre_drain", "out_file", "error_file", "group"}
	for _, key := range Keys() {
		if key.Status != Works || key.Default == "" || slices.Contains(inWords, key.Name) {
			continue
		}
		eco, err := Parse([]byte(file(key.Name, key.Default)), testOptions("eco.yaml"))
		if err != nil {
			t.Errorf("%s: %v", key.Name, err)
		} else if changed := state.Diff(plain, eco.Apps[0]); changed != nil {
			t.Errorf("%s: %s differs from leaving it out in %v", key.Name, key.Default, changed)
		}
	}
}

func TestEachFieldOfSpecHasItsKey(t *testing.T) {
	known := spellings(Keys())
	for _, field := range reflect.VisibleFields(reflect.TypeFor[state.Spec]()) {
		name := field.Tag.Get("key")
		if _, ok := known[name]; !ok && name != "-" {
			t.Errorf("%s is in state.Spec and not in the table", name)
		}
	}
}

// The 65 keys of pm2 7.0.4 with their aliases: none may be unknown here.
func TestEveryKeyOfPM2IsKnown(t *testing.T) {
	keys := strings.Fields(`script exec cmd command name name_prefix namespace cwd args exec_interpreter interpreter
		node_args interpreter_args instances exec_mode instance_var increment_var env env_production filter_env port
		uid gid user username append_env_to_name wait_ready listen_timeout kill_timeout kill_retry_time
		shutdown_with_message treekill autostart autorestart stop_exit_codes min_uptime max_restarts restart_delay
		exp_backoff_restart_delay max_memory_restart cron_restart cron watch ignore_watch watch_delay watch_options
		out_file out output out_log error_file error err err_file err_log log_file log merge_logs combine_logs
		disable_logs log_type log_date_format time pid_file pid source_map_support disable_source_map_support vizion
		pmx automation trace disable_trace v8 event_loop_inspector deep_monitoring io post_update install_url force
		execute_command windowsHide write version`)
	for _, key := range keys {
		_, err := Parse([]byte("apps:\n  - "+key+": x\n"), Options{File: "/eco.yaml"})
		if err != nil && strings.Contains(err.Error(), "unknown key") {
			t.Error(err)
		}
	}
}

func TestNamesOfKeysAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, key := range Keys() {
		for _, name := range spellingsOf(key) {
			if first, ok := seen[name]; ok {
				t.Errorf("%s names %s and %s", name, first, key.Name)
			}
			seen[name] = key.Name
		}
	}
}

func TestOneKeyUnderTwoNamesIsAnError(t *testing.T) {
	_, err := Parse([]byte("script: app.js\nout: a.log\noutput: b.log\n"), testOptions("eco.yaml"))
	if err == nil || err.Error() != "/srv/app/eco.yaml:3:1: output: output is the same key as out at line 2: write one of them" {
		t.Errorf("error %v", err)
	}
}

func TestNearestKey(t *testing.T) {
	known := []string{"kill_timeout", "name", "env", "listen_timeout"}
	for key, want := range map[string]string{
		"kill_timeuot": "kill_timeout", "kil_timout": "kill_timeout", "nmae": "name", "names": "name", "evn": "env",
		"zzz": "", "timeout": "", strings.Repeat("kill_timeout", 1000): "", "": "",
	} {
		if got := nearest(key, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", key, got, want)
		}
	}
}

func TestComplaintsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("apps:\n")
	for range 2 * MaxComplaints {
		b.WriteString("  - {script: app.js, kil_timeout: 1, name: -x, out_fil: 3}\n")
	}
	_, err := Parse([]byte(b.String()), Options{File: "/eco.yaml"})
	var complaints Complaints
	if !errors.As(err, &complaints) || len(complaints) != MaxComplaints+1 {
		t.Fatalf("%d complaints", len(complaints))
	}
	if last := complaints[MaxComplaints]; !strings.Contains(last.Message, "the rest is not listed") {
		t.Errorf("the last is %q", last)
	}
}

func TestLimitsOfAFile(t *testing.T) {
	bomb := "x-a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'j'; c++ {
		before := "*" + string(c-1)
		bomb += "x-" + string(c) + ": &" + string(c) + " [" + strings.Repeat(before+",", 9) + before + "]\n"
	}
	merges := "x-a: &a {"
	for i := range 2000 {
		merges += "k" + strings.Repeat("x", i%50) + string(rune('a'+i/50%26)) + string(rune('a'+i/1300)) + ": 1,"
	}
	merges += "}\n" + "apps:\n" + strings.Repeat("  - {<<: *a}\n", 2000)
	for name, c := range map[string]struct{ src, want string }{
		"alias bomb":  {bomb, "more than 200000 values"},
		"merge bomb":  {merges, "more than 200000 values"},
		"deep":        {"apps: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested deeper than 32"},
		"very deep":   {strings.Repeat("[", 200000), "broken YAML"},
		"large":       {"# " + strings.Repeat("x", MaxFile), "the limit is 1048576"},
		"own alias":   {"apps: &a [*a]", "nested deeper than 32"},
		"merge cycle": {"apps: [&a {<<: *a}]", "nested deeper than 32"},
	} {
		_, err := Parse([]byte(c.src), Options{File: "/eco.yaml"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.200v, want %s", name, err, c.want)
		}
	}
}
