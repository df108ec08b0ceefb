package daemon

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"supervisor/signals"
	"supervisor/supervisor/preload"
	"supervisor/supervisor/state"
)

// drainEnv is by which a Node worker loads the script that helps it to drain
// (DESIGN section 8), given the environment that it has otherwise. A worker that is
// not to be helped gets none of what a supervisor above this one has put there.
func (p *attendant) drainEnv(env []string) map[string]string {
	s, launch := p.order.Spec, p.order.Launch
	set := map[string]string{}
	options := lookEnv(env, "NODE_OPTIONS")
	if launch.Node && s.Mode == state.Cluster && s.NodeDrain && !preload.Forbidden(launch.Argv) {
		path, err := p.drainScript()
		if err == nil {
			for _, e := range preload.Env(path, options, signals.Name(unix.Signal(s.KillSignal)), s.ShutdownWithMessage) {
				name, value, _ := strings.Cut(e, "=")
				set[name] = value
			}
			return set
		}
		p.w.note(s.Name, p.order.ID, fmt.Sprintf("its workers get no help to drain: %v", err))
	}
	if stripped := preload.Strip(options); stripped != options {
		set["NODE_OPTIONS"] = stripped
	}
	return set
}

// drainScript puts the script where the worker can read it.
func (p *attendant) drainScript() (string, error) {
	dir, err := p.w.runDir(p.order.Spec.User != "")
	if err != nil {
		return "", err
	}
	return preload.Install(dir, 0o444)
}
