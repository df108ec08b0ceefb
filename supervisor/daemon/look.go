package daemon

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

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

// Logs returns the last lines of the files, then what comes.
func (b *backend) Logs(ctx context.Context, q control.LogQuery) (<-chan control.LogLine, error) {
	b.touched()
	apps, missing := b.chosen(ctx, q.Names)
	if missing != nil {
		return nil, missing
	}
	var follower *logs.Follower
	if q.Follow { // from before the files are read: a line may come twice, none is missed
		follower = b.logs.Follow(logs.Filter{Out: q.Out, Err: q.Err, Match: func(_ uint64, label string) bool {
			app, _ := unlabel(label)
			return len(q.Names) == 0 || slices.Contains(q.Names, app)
		}})
	}
	ch := make(chan control.LogLine, followBuffer)
	go func() { // ends with ctx, or with the last line when it does not follow
		defer close(ch)
		if follower != nil {
			defer follower.Close()
		}
		for _, line := range b.world.tail(apps, q) {
			select {
			case ch <- line:
			case <-ctx.Done():
				return
			}
		}
		if follower != nil {
			follow(ctx, follower, ch)
		}
	}()
	return ch, nil
}

func follow(ctx context.Context, f *logs.Follower, ch chan<- control.LogLine) {
	for {
		lines, err := f.Next(ctx)
		if err != nil {
			return
		}
		for _, l := range lines {
			app, slot := unlabel(l.Label)
			line := control.LogLine{App: app, Slot: slot, Stream: l.Stream.String(), Text: l.Text, Time: l.Time, Lost: int(l.Lost)}
			select {
			case ch <- line:
			case <-ctx.Done():
				return
			}
		}
	}
}

// tail reads the last lines of each app's files: of every file as many as were
// asked for, since raw lines carry no time to sort them by.
func (w *world) tail(apps []state.App, q control.LogQuery) []control.LogLine {
	if q.N <= 0 {
		return nil
	}
	both := !q.Out && !q.Err
	var all []control.LogLine
	read := map[string]bool{}
	for _, a := range apps {
		for slot := range a.Instances {
			out, errs := w.logPaths(a.Spec, slot)
			for _, from := range []struct {
				path, stream string
				wanted       bool
			}{{out, "out", both || q.Out}, {errs, "err", both || q.Err}} {
				if from.path == "" || !from.wanted || read[from.path] {
					continue
				}
				read[from.path] = true
				lines, err := logs.Tail(from.path, q.N)
				if err != nil {
					continue // it has written nothing yet
				}
				for _, text := range lines {
					all = append(all, control.LogLine{App: a.Name, Slot: slot, Stream: from.stream, Text: text, Time: time.Time{}})
				}
			}
		}
	}
	return all
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
