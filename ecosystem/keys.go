package ecosystem

import (
	"strings"
	"time"

	"supervisor/supervisor/logs/stamp"
	"supervisor/supervisor/state"
)

// Status says what the parser does with a key.
type Status string

const (
	Works   Status = ""
	Later   Status = "not supported yet" // an error, unless the value turns it off
	Ignored Status = "ignored"           // pm2's, without a meaning here: a warning
	Refused Status = "refused"           // pm2's, to be written in another way: an error that says how
)

// Key is one key of an app. Every key is also known by its camelCase form.
type Key struct {
	Name    string
	Aliases []string
	Default string // as it would be written in the file, "" for none
	Meaning string
	Status  Status

	read func(value)
}

// Keys returns every key that an app can have, in the order of the README's
// table. It is what the parser itself goes by.
func Keys() []Key {
	keys := programKeys()
	keys = append(keys, listenKeys()...)
	keys = append(keys, stopKeys()...)
	keys = append(keys, restartKeys()...)
	keys = append(keys, envKeys()...)
	keys = append(keys, logKeys()...)
	keys = append(keys, systemKeys()...)
	return append(keys, foreignKeys()...)
}

// TopKeys returns the keys that stand beside `apps`, at the top of a file.
func TopKeys() []Key {
	return []Key{
		{Name: "metrics", Meaning: "where the supervisor answers `/metrics`, `/healthz` and `/readyz`: HOST:PORT or `unix:PATH` (see Metrics)"},
	}
}

func programKeys() []Key {
	return []Key{
		{Name: "name", Default: "base name of script", Meaning: "unique, printable; what every command takes", read: readName},
		{Name: "cwd", Default: "folder of the file", Meaning: "a relative one is below the folder of the file", read: readCwd},
		{Name: "script", Aliases: []string{"exec", "cmd", "command"}, Meaning: "required: a file, or a program found in PATH. A `.go` file, or a folder with package main, is built once per generation", read: func(v value) { v.text(&v.a.spec.Script) }},
		{Name: "args", Meaning: "a list, or a text split like a shell would, with no shell run", read: func(v value) { v.words(&v.a.spec.Args) }},
		{Name: "interpreter", Aliases: []string{"exec_interpreter"}, Default: "by extension", Meaning: ".js .mjs .cjs .ts: node, .py: python3, .rb: ruby, .sh: sh, .pl: perl, .php: php, else none; `none` runs script itself", read: func(v value) { v.text(&v.a.spec.Interpreter) }},
		{Name: "interpreter_args", Aliases: []string{"node_args"}, Meaning: "a list, or a text split like a shell would", read: func(v value) { v.words(&v.a.spec.InterpreterArgs) }},
		{Name: "namespace", Default: "default", Meaning: "a label for a group of apps", read: func(v value) { v.label(&v.a.spec.Namespace) }},
		{Name: "instances", Default: "1", Meaning: "n; `max` or 0: usable cpus (affinity and cgroup quota); -n: cpus minus n, at least 1", read: readInstances},
		{Name: "exec_mode", Default: "cluster", Meaning: "`cluster`: listeners are shared and a reload overlaps; `fork`: sockets untouched, a reload stops first", read: readMode},
		{Name: "autostart", Default: "true", Meaning: "false registers the app as stopped", read: func(v value) { v.bool(&v.a.spec.AutoStart) }},
		{Name: "depends_on", Meaning: "apps of the same file (one or a list) that must be online before this one starts; it is stopped before them", read: readDependsOn},
	}
}

func listenKeys() []Key {
	return []Key{
		{Name: "listen", Meaning: "list of `tcp://HOST:PORT` and `unix:PATH`, each with `NAME=` before it if it has one (or as a map: address, name); opened before the first worker, held, passed as LISTEN_FDS", read: readListen},
		{Name: "intercept", Default: "true", Meaning: "find and hold the sockets that workers open themselves", read: func(v value) { v.bool(&v.a.spec.Intercept) }},
		{Name: "protocol", Default: "auto", Meaning: "auto: READY_FD, NOTIFY_SOCKET, LISTEN_FDS with `listen`, and the message channel for Node; or one alone: `systemd`, `node`, `tableflip` (an unmodified tableflip program, for which we are the parent; wait_ready is true then), or `none`", read: readProtocol},
		{Name: "wait_ready", Default: "false", Meaning: "true: a worker is ready when it says so (READY_FD, NOTIFY_SOCKET, process.send('ready')); false: when it listens. Always true with protocol: tableflip (Upgrader.Ready)", read: func(v value) { v.bool(&v.a.spec.WaitReady) }},
		{Name: "ready", Meaning: "a probe that has to succeed once before a worker is ready: `http://HOST:PORT/PATH`, `http://unix:SOCKET:/PATH`, `tcp://HOST:PORT`, `unix:SOCKET` or `exec: COMMAND`, or a map of one of http, tcp, unix, exec with interval (200ms) and timeout (1s). `$NAME` is a variable of the worker. With wait_ready both are needed, without it the probe alone decides (see Probes)", read: readProbe},
		{Name: "listen_timeout", Default: "10s", Meaning: "time to become ready; beyond it the start has failed", read: func(v value) { v.duration(&v.a.spec.ListenTimeout, time.Millisecond, MaxDuration) }},
		{Name: "soak", Default: "min_uptime where readiness was inferred, else 0", Meaning: "time a new worker must stay up after ready before its predecessor leaves", read: readSoak},
		{Name: "balance", Default: "shared", Meaning: "how new TCP connections are spread over the workers of a cluster. shared: one socket, whoever accepts first; even: a socket for each, in turn, and a worker that leaves gets none (see Balance)", read: readBalance},
		{Name: "pre_drain", Default: "0 for shared, 100ms for even", Meaning: "pause between taking a worker out of accept and its stop signal", read: func(v value) { v.duration(&v.a.spec.PreDrain, 0, MaxDuration) }},
		{Name: "node_drain", Default: "true", Meaning: "help Node programs in cluster mode to drain: see Node below; false: leave them alone", read: func(v value) { v.bool(&v.a.spec.NodeDrain) }},
	}
}

func stopKeys() []Key {
	return []Key{
		{Name: "kill_signal", Default: "SIGINT", Meaning: "first signal of a stop: a name or a number, not KILL or STOP", read: readSignal},
		{Name: "kill_timeout", Default: "10s", Meaning: "time to end after it; then SIGKILL to the whole process group", read: func(v value) { v.duration(&v.a.spec.KillTimeout, time.Millisecond, MaxDuration) }},
		{Name: "treekill", Default: "auto", Meaning: "who gets the first signal. auto: the main process and whoever listens; true: the whole tree; false: the main process", read: readTreeKill},
		{Name: "shutdown_with_message", Default: "false", Meaning: "Node: send the message `shutdown` instead of the signal", read: func(v value) { v.bool(&v.a.spec.ShutdownWithMessage) }},
		{Name: "reload", Default: "{strategy: rolling, max_surge: 1, max_unavailable: 0, on_timeout: abort}", Meaning: "strategy: rolling or blue-green; max_surge, max_unavailable: n or N%; on_timeout: abort or force", read: readReload},
	}
}

func restartKeys() []Key {
	return []Key{
		{Name: "autorestart", Default: "true", Meaning: "start a worker again when it ends", read: func(v value) { v.bool(&v.a.spec.AutoRestart) }},
		{Name: "min_uptime", Default: "1s", Meaning: "an end earlier than this after ready is unstable", read: func(v value) { v.duration(&v.a.spec.MinUptime, 0, MaxDuration) }},
		{Name: "max_restarts", Default: "16", Meaning: "unstable ends in a row until the app is errored", read: func(v value) { v.int(&v.a.spec.MaxRestarts, 0, maxRestarts) }},
		{Name: "restart_delay", Default: "0", Meaning: "fixed delay before each restart", read: func(v value) { v.duration(&v.a.spec.RestartDelay, 0, MaxDuration) }},
		{Name: "exp_backoff_restart_delay", Default: "100ms", Meaning: "first delay after an unstable end, x1.5 for each further one, at most 15s", read: func(v value) { v.duration(&v.a.spec.ExpBackoff, 0, maxBackoff) }},
		{Name: "stop_exit_codes", Meaning: "exit codes (one or a list) after which a worker is not started again", read: readExitCodes},
		{Name: "max_memory_restart", Meaning: "memory of a worker's process tree at which it is replaced", Status: Later},
		{Name: "cron_restart", Aliases: []string{"cron"}, Meaning: "reload at these times", Status: Later},
		{Name: "watch", Meaning: "reload when files change", Status: Later},
		{Name: "ignore_watch", Meaning: "files that watch leaves out", Status: Later},
		{Name: "watch_delay", Meaning: "pause between a change and the reload", Status: Later},
		{Name: "watch_options", Meaning: "pm2's options of watch", Status: Later},
	}
}

func envKeys() []Key {
	return []Key{
		{Name: "env", Meaning: "environment: a map of names and values, taken as they are written; `env_NAME` is merged over it with `--env NAME`", read: func(v value) { v.a.env = v.env() }},
		{Name: "env_file", Meaning: "a file (or a list) of NAME=value lines, below env; relative to cwd", read: readEnvFile},
		{Name: "port", Meaning: "sets PORT in env", read: readPort},
		{Name: "filter_env", Default: "false", Meaning: "true: nothing of the caller's environment is passed on; a text or a list: not the variables whose names contain one of these", read: readFilterEnv},
		{Name: "instance_var", Default: "NODE_APP_INSTANCE", Meaning: "variable with the worker's slot", read: func(v value) { v.variable(&v.a.spec.InstanceVar) }},
		{Name: "increment_var", Meaning: "variable that is raised by one per slot", read: func(v value) { v.variable(&v.a.spec.IncrementVar) }},
	}
}

func logKeys() []Key {
	return []Key{
		{Name: "out_file", Aliases: []string{"out", "output", "out_log"}, Default: "SUPERVISOR_HOME/logs/NAME-out-SLOT.log", Meaning: "relative to cwd; NULL or /dev/null: off", read: func(v value) { v.file(&v.a.spec.OutFile) }},
		{Name: "error_file", Aliases: []string{"error", "err", "err_file", "err_log"}, Default: "SUPERVISOR_HOME/logs/NAME-error-SLOT.log", Meaning: "relative to cwd; NULL or /dev/null: off", read: func(v value) { v.file(&v.a.spec.ErrorFile) }},
		{Name: "merge_logs", Aliases: []string{"combine_logs"}, Default: "false", Meaning: "one file for all slots", read: func(v value) { v.bool(&v.a.spec.MergeLogs) }},
		{Name: "disable_logs", Default: "false", Meaning: "true: out_file and error_file off", read: func(v value) { v.bool(&v.a.disableLogs) }},
		{Name: "log", Default: "{max_size: 10M, max_files: 5, compress: false}", Meaning: "rotation: max_size (0: never), max_files kept beside the current one, compress", read: readLog},
		{Name: "log_file", Meaning: "out and error in one file", Status: Later},
		{Name: "log_type", Default: "raw", Meaning: "raw: lines as they are; `json`: an object per line, with message, timestamp, type (out or err), process_id (the slot) and app_name", read: readLogType},
		{Name: "log_date_format", Meaning: "the time before each line, or that of a JSON line, in the tokens of Day.js and Moment: `YYYY-MM-DD HH:mm:ss.SSS Z`; text in [brackets]. A JSON line has UTC in ISO 8601 otherwise", read: readDateFormat},
		{Name: "time", Default: "false", Meaning: "true: log_date_format is `" + stamp.Default + "`, unless it is given", read: func(v value) { v.bool(&v.a.time) }},
	}
}

func systemKeys() []Key {
	return []Key{
		{Name: "user", Aliases: []string{"uid"}, Meaning: "name or id", read: func(v value) { v.account(&v.a.spec.User) }},
		{Name: "group", Aliases: []string{"gid"}, Default: "of user", Meaning: "name or id", read: func(v value) { v.account(&v.a.spec.Group) }},
		{Name: "umask", Meaning: `octal: "022" or 0o22`, read: readUmask},
		{Name: "nice", Meaning: "-20 (first) to 19 (last)", read: readNice},
		{Name: "limits", Meaning: "setrlimit(2): a map like {nofile: 65536, core: {soft: 0, hard: unlimited}}", read: readLimits},
	}
}

// foreignKeys are pm2's keys that have no part in this design.
func foreignKeys() []Key {
	keys := []Key{
		{Name: "name_prefix", Status: Refused, Meaning: "write the whole name in name"},
		{Name: "append_env_to_name", Status: Refused, Meaning: "write the whole name in name, or start with --name"},
		{Name: "execute_command", Status: Refused, Meaning: "write exec_mode: fork"},
	}
	ignored := []string{
		"automation", "deep_monitoring", "disable_source_map_support", "disable_trace", "event_loop_inspector",
		"force", "install_url", "io", "kill_retry_time", "pid_file", "pmx", "post_update", "source_map_support",
		"trace", "username", "v8", "version", "vizion", "windowsHide", "write",
	}
	for _, name := range ignored {
		key := Key{Name: name, Status: Ignored, Meaning: "pm2's"}
		if name == "pid_file" {
			key.Aliases = []string{"pid"}
		}
		keys = append(keys, key)
	}
	return keys
}

// defaults is an app of which the file says nothing.
func defaults() state.Spec {
	return state.Spec{
		Namespace:     "default",
		Instances:     1,
		Mode:          state.Cluster,
		AutoStart:     true,
		Intercept:     true,
		Balance:       state.Shared,
		Protocol:      state.ProtocolAuto,
		ListenTimeout: 10 * time.Second,
		KillSignal:    defaultSignal,
		KillTimeout:   10 * time.Second,
		TreeKill:      state.TreeAuto,
		Reload:        state.Reload{MaxSurge: state.Amount{N: 1}},
		AutoRestart:   true,
		MinUptime:     time.Second,
		MaxRestarts:   16,
		ExpBackoff:    100 * time.Millisecond,
		InstanceVar:   "NODE_APP_INSTANCE",
		Log:           state.Log{MaxSize: 10 << 20, MaxFiles: 5},
		NodeDrain:     true,
	}
}

// spellings maps every way to write a key to its index in keys.
func spellings(keys []Key) map[string]int {
	m := make(map[string]int, 4*len(keys))
	for i, key := range keys {
		for _, name := range append([]string{key.Name}, key.Aliases...) {
			m[name] = i
			m[camel(name)] = i
		}
	}
	return m
}

// camel writes kill_timeout as killTimeout.
func camel(name string) string {
	parts := strings.Split(name, "_")
	for i, part := range parts[1:] {
		if part != "" {
			parts[i+1] = strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return strings.Join(parts, "")
}
