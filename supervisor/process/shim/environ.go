package shim

// The variables that Go's runtime reads when the shim starts. The worker's go
// by under a name of their own, so that a GODEBUG meant for the worker neither
// slows the shim down nor makes it write to the worker's log, and arrive
// unchanged.
var runtimeVariables = [...]string{"GODEBUG=", "GOGC=", "GOMAXPROCS=", "GOMEMLIMIT=", "GOTRACEBACK=", "GOCOVERDIR=", "GORACE="}

// shimVariables are the shim's own, and come first in its environment. It
// lives for a millisecond: no collector, and one processor's worth of the
// runtime's structures, however many the machine has.
var shimVariables = [...]string{"GOGC=off", "GOMAXPROCS=1"}

const veil = '_'

// isRuntimeVariable tells whether an entry, less any veils, is one of the runtime's.
func isRuntimeVariable(entry string) bool {
	entry = trimVeil(entry)
	if !hasPrefix(entry, "GO") {
		return false
	}
	for _, name := range runtimeVariables {
		if hasPrefix(entry, name) {
			return true
		}
	}
	return false
}

// VeilEnv makes the shim's environment of the worker's.
func VeilEnv(env []string) []string {
	out := make([]string, 0, len(shimVariables)+len(env))
	out = append(out, shimVariables[:]...)
	for _, entry := range env {
		if isRuntimeVariable(entry) {
			entry = string(veil) + entry
		}
		out = append(out, entry)
	}
	return out
}

// unveilEnv is VeilEnv's inverse; it works in place.
func unveilEnv(env []string) []string {
	env = env[min(len(shimVariables), len(env)):]
	for i, entry := range env {
		if entry != "" && entry[0] == veil && isRuntimeVariable(entry) {
			env[i] = entry[1:]
		}
	}
	return env
}

func trimVeil(s string) string {
	for s != "" && s[0] == veil {
		s = s[1:]
	}
	return s
}

// hasPrefix is strings.HasPrefix, which is out of reach here.
func hasPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && s[:len(prefix)] == prefix
}

// setVariable puts name=value in place of the entry of that name, or last.
func setVariable(env []string, name, value string) []string {
	entry := name + "=" + value
	for i, old := range env {
		if hasPrefix(old, name+"=") {
			env[i] = entry
			return env
		}
	}
	return append(env, entry)
}
