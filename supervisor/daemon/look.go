package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"supervisor/supervisor/control"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/state"
)

// List is the loop's snapshot with figures of usage, which are sampled only now,
// because somebody looks.
func (b *backend) List(ctx context.Context) (state.Snapshot, error) {
	b.touched()
	snap, err := b.loop.Snapshot(ctx)
	if err != nil {
		return snap, err
	}
	var pids []int
	for _, a := range snap.Apps {
		for _, w := range a.Workers {
			if w.PID > 0 {
				pids = append(pids, w.PID)
			}
		}
	}
	if len(pids) == 0 {
		return snap, nil
	}
	figures, err := b.sampler.Sample(pids)
	if err != nil {
		return snap, nil // unknown figures are null
	}
	for _, a := range snap.Apps {
		for i, w := range a.Workers {
			if f, ok := figures[w.PID]; ok {
				a.Workers[i].RSSBytes, a.Workers[i].CPUPercent = &f.RSSBytes, &f.CPUPercent
			}
		}
	}
	return snap, nil
}

// Describe tells all about one app, or about every one.
func (b *backend) Describe(ctx context.Context, name string) ([]state.Describe, error) {
	snap, err := b.List(ctx)
	if err != nil {
		return nil, err
	}
	var all []state.Describe
	for _, a := range snap.Apps {
		if name == "" || a.Name == name {
			all = append(all, b.describe(a))
		}
	}
	if name != "" && len(all) == 0 {
		return nil, unknown(name, snap.Apps)
	}
	return all, nil
}

func (b *backend) describe(a state.App) state.Describe {
	d := state.Describe{
		App: a, File: a.Spec.File, EnvName: a.EnvName, Script: a.Launch.Script,
		Command: a.Launch.Argv, Instead: a.Launch.Instead, Wrapper: a.Launch.Wrapper, Cwd: a.Launch.Dir, Listening: []string{}, Notes: a.Notes,
		Logs: b.world.pathsOf(a), Settings: a.Spec, Env: a.Spec.Env, Details: []state.WorkerDetail{},
	}
	for _, s := range b.world.table.Sockets(a.Name) {
		d.Listening = append(d.Listening, s.Addr)
	}
	for _, w := range a.Workers {
		d.Details = append(d.Details, state.WorkerDetail{
			ID: w.ID, Slot: w.Slot, State: w.Exact.String(), Status: w.Said, LastExit: w.LastExit,
		})
	}
	if receipts, err := b.history.Read(a.Name, 1); err == nil && len(receipts) == 1 {
		var last state.Receipt
		if json.Unmarshal(receipts[0], &last) == nil {
			d.Last = &last
		}
	}
	return d
}

// followBuffer is how many lines may wait for a client that follows logs.
const followBuffer = 1024

// source is one stream of one worker's slot, and where it is written.
type source struct {
	app    string
	slot   int
	stream logs.Stream
	path   string
}

// sourceOf is the one of a worker's label.
func sourceOf(label string, stream logs.Stream, path string) source {
	app, slot := unlabel(label)
	return source{app, slot, stream, path}
}

func (s source) line(text string) control.LogLine {
	return control.LogLine{App: s.app, Slot: s.slot, Stream: s.stream.String(), Text: text}
}

// sources are the files that a query is about, each once.
func (w *world) sources(apps []state.App, q control.LogQuery) []source {
	both := !q.Out && !q.Err
	var all []source
	seen := map[string]bool{}
	for _, a := range apps {
		for slot := range a.Instances {
			out, errs := w.logPaths(a.Spec, slot)
			for _, s := range []source{{a.Name, slot, logs.Stdout, out}, {a.Name, slot, logs.Stderr, errs}} {
				wanted := both || s.stream == logs.Stdout && q.Out || s.stream == logs.Stderr && q.Err
				if s.path != "" && wanted && !seen[s.path] {
					seen[s.path] = true
					all = append(all, s)
				}
			}
		}
	}
	return all
}

// Logs returns the last lines of the files, then what comes. What was broken off goes on
// behind what was seen of it.
func (b *backend) Logs(ctx context.Context, q control.LogQuery) (<-chan control.LogLine, error) {
	b.touched()
	apps, missing := b.chosen(ctx, q.Names)
	if missing != nil && len(q.Cursors) > 0 {
		apps, missing = b.present(ctx, q.Names)
	}
	if missing != nil {
		return nil, missing
	}
	from, former, err := cursorsOf(q.Cursors)
	if err != nil {
		return nil, &state.Error{Code: state.ExitUsage, Message: fmt.Sprintf("cannot go on with the logs: %v", err)}
	}
	sources := b.world.sources(apps, q)
	var first []control.LogLine
	if len(q.Cursors) == 0 {
		first, from = tail(sources, q)
	}
	ch := make(chan control.LogLine, followBuffer)
	if !q.Follow {
		go func() { // ends with ctx, or the last line
			defer close(ch)
			give(ctx, ch, first)
		}()
		return ch, nil
	}
	wanted := func(app string) bool { return len(q.Names) == 0 || slices.Contains(q.Names, app) }
	filter := logs.Filter{Out: q.Out, Err: q.Err, Match: func(_ uint64, label string) bool {
		app, _ := unlabel(label)
		return wanted(app)
	}}
	for _, src := range b.logs.Sources(filter) { // in a reload, or of what drains, some are none of the configured
		s := sourceOf(src.Label, src.Stream, src.Path)
		if _, seen := from.Of(s.path); seen {
			continue
		}
		sources = append(sources, s)
		if len(q.Cursors) == 0 {
			marks, at := tail([]source{s}, control.LogQuery{Follow: true})
			first = append(first, marks...)
			for _, c := range at {
				from.Set(c)
			}
		}
	}
	for _, s := range former {
		if wanted(s.app) {
			sources = append(sources, s)
		}
	}
	follower := b.logs.FollowFrom(filter, begun(from, sources), followed(sources)...)
	go func() { // ends with ctx
		defer close(ch)
		defer follower.Close()
		if give(ctx, ch, first) {
			follow(ctx, follower, ch)
		}
	}()
	return ch, nil
}

// present are those of the apps that there are. Who goes on with the logs of one that was
// deleted waits for it to come again, as where no daemon has died meanwhile.
func (b *backend) present(ctx context.Context, names []string) ([]state.App, *state.Error) {
	apps, err := b.chosen(ctx, nil)
	return slices.DeleteFunc(slices.Clone(apps), func(a state.App) bool { return !slices.Contains(names, a.Name) }), err
}

// cursor is the word for a place in a source. It names the source, since that may be none
// of the configured ones when it is needed: a worker whose slot is scaled away, or whose
// file is another's by now, still drains.
func (s source) cursor(at logs.Cursor) string {
	return at.String() + "/" + s.stream.String() + "/" + label(s.app, s.slot)
}

// cursorsOf are the places that a client has seen, the later of two in one file, and the
// sources that these are in.
func cursorsOf(texts []string) (from logs.Cursors, in []source, err error) {
	for _, text := range texts {
		place, rest, _ := strings.Cut(text, "/")
		stream, label, named := strings.Cut(rest, "/")
		cs, err := logs.ParseCursors(place)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range cs {
			from.Set(c)
			if !named {
				continue
			}
			kind := logs.Stdout
			if stream == logs.Stderr.String() {
				kind = logs.Stderr
			}
			in = append(in, sourceOf(label, kind, c.Path))
		}
	}
	return from, in, nil
}

// begun adds the files of which nothing was seen: they are wanted from their begin.
func begun(from logs.Cursors, sources []source) logs.Cursors {
	for _, s := range sources {
		if _, at, _ := logs.TailAt(s.path, 0); at.Path != "" {
			if _, seen := from.Of(at.Path); !seen {
				from.Set(logs.Cursor{Path: at.Path})
			}
		}
	}
	return from
}

// followed are sources as package logs knows them.
func followed(sources []source) []logs.Source {
	all := make([]logs.Source, len(sources))
	for i, s := range sources {
		all[i] = logs.Source{Path: s.path, Label: label(s.app, s.slot), Stream: s.stream}
	}
	return all
}

// give sends lines; false when ctx has ended.
func give(ctx context.Context, ch chan<- control.LogLine, lines []control.LogLine) bool {
	for _, line := range lines {
		select {
		case ch <- line:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func follow(ctx context.Context, f *logs.Follower, ch chan<- control.LogLine) {
	for {
		lines, err := f.Next(ctx)
		if err != nil {
			return
		}
		for _, l := range lines {
			s := sourceOf(l.Label, l.Stream, l.Cursor.Path)
			line := s.line(l.Text)
			line.Time, line.Lost, line.Mark = l.Time, int(l.Lost), l.Mark
			if l.Cursor.Path != "" {
				line.Cursor = s.cursor(l.Cursor)
			}
			if !give(ctx, ch, []control.LogLine{line}) {
				return
			}
		}
	}
}

// tail reads the last lines of each file: of every one as many as were asked for, since
// raw lines carry no time to sort them by. Whoever follows gets a mark of each file, and
// goes on from there: a line that is open yet comes with its end.
func tail(sources []source, q control.LogQuery) (all []control.LogLine, from logs.Cursors) {
	for _, s := range sources {
		lines, at, err := logs.TailAt(s.path, q.N)
		if !q.Follow {
			lines, err = logs.Tail(s.path, q.N)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, text := range lines {
			all = append(all, s.line(text))
		}
		if q.Follow && at.Path != "" {
			from.Set(at)
			mark := s.line("")
			mark.Mark, mark.Cursor = true, s.cursor(at)
			all = append(all, mark)
		}
	}
	return all, from
}

// unlabel splits a worker's label into its app and slot.
func unlabel(label string) (app string, slot int) {
	i := strings.LastIndexByte(label, ':')
	if i < 0 {
		return label, 0
	}
	slot, _ = strconv.Atoi(label[i+1:])
	return label[:i], slot
}
