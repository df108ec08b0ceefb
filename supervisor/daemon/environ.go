package daemon

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"supervisor/supervisor/preload"
	"supervisor/supervisor/state"
	"supervisor/supervisor/systemd"
)

// ours are the variables by which somebody speaks to this supervisor itself: a
// worker that inherited them would take them for its own (DESIGN section 6).
func ours(name string) bool {
	switch name {
	case "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
		"WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE", "MAINPID", "MANAGERPID", "INVOCATION_ID", "JOURNAL_STREAM",
		"TABLEFLIP_HAS_PARENT_7DIU3", "SUPERVISOR_KEEPER", "SUPERVISOR_UPWARD", systemd.InstalledVariable,
		"READY_FD", "NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE", "NODE_UNIQUE_ID",
		"SUPERVISOR_APP", "SUPERVISOR_WORKER", "SUPERVISOR_GENERATION", "NODE_APP_INSTANCE",
		preload.Variable:
		return true
	}
	return false
}

// baseEnv is the caller's environment as an app's workers may have it.
func baseEnv(env []string, filter state.FilterEnv) []string {
	base := make([]string, 0, len(env))
	for _, e := range env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" || ours(name) || dropped(name, filter) {
			continue
		}
		base = append(base, e)
	}
	return base
}

// kept are the variables without which hardly a program starts: filter_env leaves
// them, as `env -i` users soon put them back.
var kept = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"}

func dropped(name string, filter state.FilterEnv) bool {
	if filter.All {
		return !slices.Contains(kept, name)
	}
	return slices.ContainsFunc(filter.Contains, func(part string) bool { return strings.Contains(name, part) })
}

// workerEnv is the base with what the file says over it, which is always exactly
// what the file says.
func workerEnv(spec state.Spec, base []string) []string {
	return merge(base, spec.Env)
}

// merge sets variables in an environment, each once, in a stable order.
func merge(base []string, set map[string]string) []string {
	env := make([]string, 0, len(base)+len(set))
	seen := map[string]bool{}
	for _, e := range base {
		name, _, _ := strings.Cut(e, "=")
		if _, over := set[name]; !over && !seen[name] {
			seen[name] = true
			env = append(env, e)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		env = append(env, name+"="+set[name])
	}
	return env
}

// identity is what a worker is told about itself.
func identity(spec state.Spec, env []string, slot, gen int, id uint64) map[string]string {
	set := map[string]string{
		"SUPERVISOR_APP":        spec.Name,
		"SUPERVISOR_WORKER":     strconv.FormatUint(id, 10),
		"SUPERVISOR_GENERATION": strconv.Itoa(gen),
		spec.InstanceVar:        strconv.Itoa(slot),
	}
	if name := spec.IncrementVar; name != "" {
		if n, err := strconv.Atoi(lookEnv(env, name)); err == nil {
			set[name] = strconv.Itoa(n + slot)
		}
	}
	return set
}
