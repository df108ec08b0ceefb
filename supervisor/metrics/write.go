package metrics

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"supervisor/supervisor/state"
)

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Listener is one listening address that is held for an app. What its kind of socket
// does not tell is nil.
type Listener struct {
	App, Addr string // tcp://127.0.0.1:3000
	Queue     *int   // connections that wait to be accepted
	Max       *int   // how many may
	Drops     *int64 // connections that were turned away because too many waited
}

// Now is all that is known at one instant.
type Now struct {
	state.Snapshot
	Counts    *Counts
	Listeners []Listener
	Go        string // version of the runtime, as runtime.Version has it
}

// states are the words for a worker's state, in the order in which it has them.
var states = [...]string{"launching", "online", "stopping", "waiting restart", "stopped", "errored"}

// results are those that a reload of an app can have.
var results = [...]string{state.Complete, state.RolledBack, state.Failed, state.Superseded, state.Interrupted}

// Write returns everything as text.
func (n Now) Write() []byte {
	p := page{
		help:  strings.NewReplacer(`\`, `\\`, "\n", `\n`),
		label: strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`),
	}
	p.family("supervisor_build_info", "gauge", "Always 1; the labels tell which supervisor this is.")
	p.sample("", 1, "version", n.Daemon.Version, "goversion", n.Go)
	p.family("supervisor_uptime_seconds", "gauge", "Time since the supervisor began, or took over from one before it.")
	p.sample("", float64(n.Daemon.UptimeMS)/1000)
	p.family("supervisor_events_lost_total", "counter", "Events that came too fast to be counted below.")
	p.sample("", float64(n.Counts.lost))
	n.apps(&p)
	n.counted(&p)
	n.sockets(&p)
	return p.Bytes()
}

// apps are the families that come of the snapshot.
func (n Now) apps(p *page) {
	p.family("supervisor_app_instances", "gauge", "Workers that are wanted; 0 for an app that is stopped.")
	for _, a := range n.Apps {
		wanted := a.Instances
		if a.Want == state.Down {
			wanted = 0
		}
		p.sample("", float64(wanted), "app", a.Name)
	}
	p.family("supervisor_app_generation", "gauge", "Release number of the app: one more for each reload that starts workers.")
	for _, a := range n.Apps {
		p.sample("", float64(a.Generation), "app", a.Name)
	}
	p.family("supervisor_workers", "gauge", "Workers by state, those that are being replaced included.")
	for _, a := range n.Apps {
		in := map[string]int{}
		for _, w := range a.Workers {
			in[w.State]++
		}
		for _, word := range states {
			p.sample("", float64(in[word]), "app", a.Name, "state", word)
		}
	}
	p.family("supervisor_worker_restarts_total", "counter", "Workers that ended unasked and were started again; `supervisor reset` sets it to 0.")
	for _, a := range n.Apps {
		p.sample("", float64(a.Restarts), "app", a.Name)
	}
}

// counted are the families that come of the events, for every app of the snapshot and
// every one that something happened to.
func (n Now) counted(p *page) {
	of := map[string]*counts{}
	for _, a := range n.Apps {
		of[a.Name] = &counts{}
	}
	maps.Copy(of, n.Counts.apps)
	names := slices.Sorted(maps.Keys(of))
	p.family("supervisor_worker_kills_total", "counter", "Workers that got SIGKILL, being alive at kill_timeout.")
	for _, name := range names {
		p.sample("", float64(of[name].kills), "app", name)
	}
	p.family("supervisor_worker_ready_seconds", "histogram", "Time from a worker's start until it was ready.")
	for _, name := range names {
		p.histogram(&of[name].ready, "app", name)
	}
	p.family("supervisor_worker_drain_seconds", "histogram", "Time from a worker's stop signal until its last process was gone.")
	for _, name := range names {
		p.histogram(&of[name].drain, "app", name)
	}
	p.family("supervisor_reloads_total", "counter", "Reloads by result.")
	for _, name := range names {
		for _, result := range results {
			p.sample("", float64(of[name].results[result]), "app", name, "result", result)
		}
	}
	p.family("supervisor_reload_seconds", "histogram", "Time that a reload of the app took.")
	for _, name := range names {
		p.histogram(&of[name].reload, "app", name)
	}
	p.family("supervisor_reload_connections_cut_total", "counter", "Connections that were open when a worker was killed, or ended badly, in a reload.")
	for _, name := range names {
		p.sample("", float64(of[name].cut), "app", name)
	}
}

func (n Now) sockets(p *page) {
	p.family("supervisor_listener_queue_length", "gauge", "Connections that wait to be accepted.")
	for _, l := range n.Listeners {
		if l.Queue != nil {
			p.sample("", float64(*l.Queue), "app", l.App, "address", l.Addr)
		}
	}
	p.family("supervisor_listener_queue_max", "gauge", "Connections that may wait to be accepted.")
	for _, l := range n.Listeners {
		if l.Max != nil {
			p.sample("", float64(*l.Max), "app", l.App, "address", l.Addr)
		}
	}
	p.family("supervisor_listener_drops_total", "counter", "Attempts to connect that the kernel turned away since the socket exists, most because too many waited.")
	for _, l := range n.Listeners {
		if l.Drops != nil {
			p.sample("", float64(*l.Drops), "app", l.App, "address", l.Addr)
		}
	}
}

// page is the text in the making.
type page struct {
	bytes.Buffer
	name        string // of the family that is written
	help, label *strings.Replacer
}

func (p *page) family(name, kind, help string) {
	p.name = name
	p.WriteString("# HELP " + name + " " + p.help.Replace(help) + "\n# TYPE " + name + " " + kind + "\n")
}

// sample writes a value with its labels, which are pairs of name and value.
func (p *page) sample(suffix string, value float64, labels ...string) {
	p.WriteString(p.name + suffix)
	for i := 0; i < len(labels); i += 2 {
		before := ","
		if i == 0 {
			before = "{"
		}
		p.WriteString(before + labels[i] + `="` + p.label.Replace(strings.ToValidUTF8(labels[i+1], "\ufffd")) + `"`)
	}
	if len(labels) > 0 {
		p.WriteByte('}')
	}
	p.WriteString(" " + number(value) + "\n")
}

func (p *page) histogram(h *histogram, labels ...string) {
	with := append(slices.Clone(labels), "le", "")
	below := uint64(0)
	for i, count := range h.counts {
		with[len(with)-1] = "+Inf"
		if i < len(bounds) {
			with[len(with)-1] = number(bounds[i])
		}
		below += count
		p.sample("_bucket", float64(below), with...)
	}
	p.sample("_sum", h.sum, labels...)
	p.sample("_count", float64(below), labels...)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
