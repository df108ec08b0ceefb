package export

// fate is what becomes of a key in each target: "" where it is carried over (what of
// its values can't be is told where that is done), else why it is not.
type fate struct {
	kubernetes, nomad string
}

// fateOf returns the fate of a key of the ecosystem file; false if there is no such key.
func fateOf(key string) (fate, bool) {
	both := func(why string) (fate, bool) { return fate{why, why}, true }
	switch key {
	case "name", "namespace", "script", "args", "interpreter", "interpreter_args", "cwd",
		"instances", "exec_mode", "autostart", "listen", "ready", "wait_ready",
		"listen_timeout", "soak", "min_uptime", "pre_drain", "kill_signal", "kill_timeout",
		"shutdown_with_message", "reload", "env", "port", "user", "group", "limits", "node_drain",
		"intercept", "filter_env": // nothing is shared with others there, nor inherited
		return fate{}, true

	case "depends_on":
		return both("all apps are started at once: the program has to wait for what it needs")
	case "protocol":
		return both("nobody is there to speak it: the program opens its sockets itself, and is asked whether it is ready")
	case "balance":
		return both("whoever is in front of the workers spreads the connections")
	case "treekill":
		return both("the signal goes to the main process alone")
	case "stop_exit_codes":
		return both("exit codes are not told apart")
	case "increment_var":
		return both("each worker has an address of its own: the variable is the same for all")
	case "umask", "nice":
		return both("it can't be set: the program, or a wrapper of it, has to")
	case "env_file":
		return fate{
			"its values now stand in the document: those that are secret belong into a Secret",
			"its values now stand in the document: those that are secret belong into a variable of Nomad",
		}, true

	case "out_file", "error_file", "log_file", "merge_logs", "disable_logs", "log_type", "log_date_format", "time":
		return both("what the program prints is kept by the cluster")
	case "log":
		return fate{kubernetes: "what the program prints is kept by the cluster, which rotates it (containerLogMaxSize of the kubelet)"}, true

	case "autorestart":
		return fate{kubernetes: "a Deployment starts a container again however it ended; a Job does not"}, true
	case "max_restarts":
		return fate{kubernetes: "Kubernetes never gives up"}, true
	case "restart_delay":
		return fate{kubernetes: "Kubernetes has delays of its own, from 10 s to 5 min"}, true
	case "exp_backoff_restart_delay":
		return fate{"Kubernetes has delays of its own, from 10 s to 5 min", "Nomad's delay does not grow: see restart_delay"}, true
	case "instance_var":
		return fate{kubernetes: "the pods of a Deployment have no numbers; those of a StatefulSet have"}, true

	case "max_memory_restart":
		return both("a cluster ends what has too much memory: write resources for it")
	case "cron_restart", "watch", "ignore_watch", "watch_delay", "watch_options":
		return both("a reload there is a new version of the document")
	}
	return fate{}, false
}
