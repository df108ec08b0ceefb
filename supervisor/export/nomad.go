package export

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"supervisor/signals"
	"supervisor/supervisor/state"
)

const nomadHead = `# Made by supervisor export nomad.
`

// Bounds of Nomad.
const (
	// maxKillTimeout is what a client allows unless it is told otherwise (max_kill_timeout).
	maxKillTimeout = 30 * time.Second
	// minRestartInterval is the shortest interval of a restart block that is taken.
	minRestartInterval = 5 * time.Second
)

// Nomad returns one job of that name with a group for each app. Its tasks run image by
// the docker driver, or what lies on the clients by the exec driver where image is "".
func Nomad(name string, apps []App, image string) ([]byte, []Warning) {
	var r report
	job := &block{kind: "job", label: label(name)}
	job.list("datacenters", []string{"*"})
	job.text("type", "service")
	names := r.names(apps)
	for i, a := range apps {
		r.app = i
		r.lost(a, func(f fate) string { return f.nomad })
		r.common(a)
		r.sockets(a)
		n := nomad{App: a, report: &r, name: names[i], image: image}
		n.group(job.block("group", n.name))
	}
	var out strings.Builder
	out.WriteString(nomadHead)
	job.write(&out, "")
	return []byte(out.String()), r.sorted()
}

// nomad writes one app.
type nomad struct {
	App
	*report
	name, image string
}

func (n nomad) group(g *block) {
	g.number("count", n.count())
	if n.count() > 0 {
		n.update(g.block("update", ""))
	}
	n.restart(g)
	n.network(g)
	n.service(g)
	n.task(g.block("task", n.name))
}

// update is how allocations are replaced. Nomad either starts new ones beside all the
// old (canary = count), or stops some of the old first (max_parallel).
func (n nomad) update(u *block) {
	reload, count := n.Spec.Reload, n.count()
	unavailable := reload.MaxUnavailable.Of(count)
	_, written := n.Written["reload"]
	beside := n.Spec.Mode != state.Fork && (reload.BlueGreen || unavailable == 0)
	switch {
	case beside:
		u.number("max_parallel", count)
		u.number("canary", count)
		u.flag("auto_promote", true)
		if written && !reload.BlueGreen && reload.MaxSurge.Of(count) < count {
			n.warn("reload", "Nomad keeps all %d serving only by as many beside them (canary): max_surge can't be less", count)
		}
	case n.Spec.Mode == state.Fork:
		u.number("max_parallel", 1)
	default:
		u.number("max_parallel", max(1, min(unavailable, count)))
		if written && reload.MaxSurge.Of(count) > 0 {
			n.warn("reload", "max_surge: with max_unavailable Nomad stops old workers first, and starts none beside them")
		}
	}
	u.flag("auto_revert", true)
	asked := probed(n.App)
	steady := n.steady(asked)
	healthy := placing + n.Spec.ListenTimeout + steady
	if asked && !n.scripted() {
		u.text("health_check", "checks")
	} else {
		u.text("health_check", "task_states")
	}
	u.duration("min_healthy_time", steady)
	u.duration("healthy_deadline", healthy)
	u.duration("progress_deadline", healthy+placing)
}

// restart is written where the file says something of it: Nomad's own default is not bad.
func (n nomad) restart(g *block) {
	s := n.Spec
	said := false
	for _, key := range []string{"autorestart", "max_restarts", "restart_delay", "exp_backoff_restart_delay"} {
		_, written := n.Written[key]
		said = said || written
	}
	if !said {
		return
	}
	attempts, delay := s.MaxRestarts, s.ExpBackoff
	if s.RestartDelay > 0 {
		delay = s.RestartDelay
	}
	if !s.AutoRestart {
		attempts = 0
		again := g.block("reschedule", "")
		again.number("attempts", 0)
		again.flag("unlimited", false)
	}
	r := g.block("restart", "")
	r.number("attempts", attempts)
	r.duration("delay", delay)
	// As many ends within it are too many; those of a worker that runs for minutes are not.
	r.duration("interval", max(minRestartInterval, time.Duration(attempts+1)*(delay+s.MinUptime)))
	r.text("mode", "fail")
}

// network names the ports. A port that the program takes from its environment is
// Nomad's to choose; another has to be free on the client.
func (n nomad) network(g *block) {
	ports := n.ports()
	if len(ports) == 0 {
		return
	}
	net := g.block("network", "")
	for _, p := range ports {
		b := net.block("port", nomadPort(p))
		switch {
		case n.image != "":
			b.number("to", p.number)
		case p.env == "":
			b.number("static", p.number)
			if n.count() > 1 {
				n.warn("listen", "port %d is taken once on each client: %d workers need as many clients; a program that takes PORT from its environment does not", p.number, n.count())
			}
		}
	}
}

// nomadPort is a name of letters, digits and _: it becomes part of a variable's.
func nomadPort(p port) string {
	name := "tcp"
	if p.name != "" {
		name = label(p.name)
	}
	return strings.ReplaceAll(name, "-", "_") + "_" + strconv.Itoa(p.number)
}

// scripted reports whether the check is a command, which Nomad runs only for Consul.
func (n nomad) scripted() bool {
	c, _ := n.check()
	return c.kind == asksCommand
}

func (n nomad) service(g *block) {
	c, why := n.check()
	if why != "" {
		n.warn("ready", "%s: %s", why, readyBy(n.App))
	}
	if c.kind == asksCommand {
		n.warn("ready", "exec: Nomad runs no command to see whether a worker is ready (Consul does): it is ready when it runs")
	}
	for i, p := range n.ports() {
		s := g.block("service", "")
		name := n.name
		if i > 0 {
			suffix := "-" + strconv.Itoa(p.number)
			name = name[:min(len(name), maxLabel-len(suffix))] + suffix
		}
		s.text("name", name)
		s.text("provider", "nomad")
		s.text("port", nomadPort(p))
		if c.port == p.number && (c.kind == asksHTTP || c.kind == asksTCP) {
			n.ask(s.block("check", ""), c)
		}
	}
	if c.port != 0 && !slices.ContainsFunc(n.ports(), func(p port) bool { return p.number == c.port }) {
		n.warn("ready", "port %d is none that the file names (listen, port): it is not asked", c.port)
	}
}

// ask writes a check. Nomad asks at least a second apart.
func (n nomad) ask(b *block, c check) {
	interval, timeout := time.Second, time.Second
	if p := n.Spec.Ready; p != nil {
		interval, timeout = max(interval, p.Interval), max(timeout, p.Timeout)
	}
	if c.host != "" {
		n.warn("ready", "%s: the worker's own address is asked", c.host)
	}
	if c.kind == asksHTTP {
		b.text("type", "http")
		b.text("path", c.path)
	} else {
		b.text("type", "tcp")
	}
	b.duration("interval", interval)
	b.duration("timeout", timeout)
}

func (n nomad) task(t *block) {
	t.text("driver", n.driver())
	t.text("user", n.user())
	t.text("kill_signal", signals.Name(syscall.Signal(n.Spec.KillSignal)))
	t.duration("kill_timeout", n.Spec.KillTimeout)
	if n.Spec.KillTimeout > maxKillTimeout {
		n.warn("kill_timeout", "a client allows %s unless its max_kill_timeout is raised", maxKillTimeout)
	}
	if linger := n.linger(len(n.ports()) > 0); linger > 0 {
		t.duration("shutdown_delay", linger)
	}
	n.config(t.block("config", ""))
	t.texts("env", n.env())
	if _, written := n.Written["namespace"]; written {
		t.texts("meta", map[string]string{"namespace": quoted(n.Spec.Namespace)})
	}
	bytes, others := memory(n.Spec.Limits)
	if bytes > 0 {
		t.block("resources", "").number("memory", megabytes(bytes))
	}
	n.limits(others)
	if _, written := n.Written["log"]; written && n.Spec.Log.MaxSize > 0 {
		l := t.block("logs", "")
		l.number("max_files", max(1, n.Spec.Log.MaxFiles+1)) // the current one counts
		l.number("max_file_size", megabytes(uint64(n.Spec.Log.MaxSize)))
	}
}

// megabytes rounds up.
func megabytes(bytes uint64) int { return int((bytes + 1<<20 - 1) >> 20) }

func (n nomad) driver() string {
	if n.image != "" {
		return "docker"
	}
	return "exec"
}

func (n nomad) user() string {
	switch {
	case n.Spec.Group == "":
		return n.Spec.User
	case n.image != "" && n.Spec.User != "":
		return n.Spec.User + ":" + n.Spec.Group
	}
	n.warn("group", "can't be set: it is that of the user")
	return n.Spec.User
}

func (n nomad) limits(others []string) {
	if n.image != "" { // ulimit
		return
	}
	for _, name := range others {
		n.warn("limits", "%s can't be set by the exec driver; docker's (--image) has ulimit", name)
	}
}

// config is the driver's part.
func (n nomad) config(c *block) {
	text, hasCwd := n.Written["cwd"]
	absolute := strings.HasPrefix(text, "/")
	switch {
	case hasCwd && n.image == "":
		n.warn("cwd", "the exec driver starts a program in the task's folder: bring the files there by an artifact block")
	case hasCwd && !absolute:
		n.warn("cwd", "is below the folder of the file here; there the image's WORKDIR is used")
	}
	c.text("image", n.image)
	if len(n.Command) > 0 {
		c.text("command", n.Command[0])
		c.list("args", n.Command[1:])
		n.expanded("args", n.Command...)
	}
	if n.image == "" {
		return
	}
	if hasCwd && absolute {
		c.text("work_dir", n.Spec.Cwd)
	}
	var ports []string
	for _, p := range n.ports() {
		ports = append(ports, nomadPort(p))
	}
	c.list("ports", ports)
	ulimit := map[string]string{}
	for _, l := range n.Spec.Limits {
		if l.Name != "as" && l.Name != "rss" {
			ulimit[l.Name] = quoted(bound(l.Soft) + ":" + bound(l.Hard))
		}
	}
	if len(ulimit) > 0 {
		u := c.block("ulimit", "")
		for _, name := range slices.Sorted(maps.Keys(ulimit)) {
			u.attribute(name, ulimit[name])
		}
	}
}

// bound writes a limit as docker takes it.
func bound(n uint64) string {
	if int64(n) < 0 {
		return "-1"
	}
	return strconv.FormatUint(n, 10)
}

// env is the app's, the number of the worker, and where the program takes its port from
// it without a container around it, the port that Nomad has chosen.
func (n nomad) env() map[string]string {
	env := map[string]string{}
	for name, value := range n.Spec.Env {
		env[name] = quoted(value)
		n.expanded("env", value)
	}
	if name := n.Spec.InstanceVar; name != "" {
		env[name] = runtime("NOMAD_ALLOC_INDEX")
	}
	for _, p := range n.ports() {
		if p.env != "" && n.image == "" {
			env[p.env] = runtime("NOMAD_PORT_" + nomadPort(p))
		}
	}
	return env
}

// expanded warns of texts that Nomad's client would change, which it has no escape for.
func (n nomad) expanded(key string, texts ...string) {
	for _, text := range texts {
		if strings.Contains(text, "${") {
			n.warn(key, "%s: Nomad expands ${...} of its own variables when the task starts", fmt.Sprintf("%.40q", text))
		}
	}
}
