package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"supervisor/supervisor"
	"supervisor/supervisor/state"
)

// meters answer at the addresses that ecosystem files ask for (metrics: ADDRESS), each
// while at least one of them does. They touch nothing of what they look at.
type meters struct {
	loop    *supervisor.Loop
	world   *world
	looking chan struct{} // as many as may look at the daemon at once
	touched func()        // somebody asks

	mu     sync.Mutex              // of those who ask; neither the loop nor an answer ever waits for it
	asked  map[string]state.Listen // by file
	open   map[state.Listen]*meter
	paused bool // nothing is to be open
	tally  *tally
}

func newMeters(loop *supervisor.Loop, w *world, touched func()) *meters {
	return &meters{loop: loop, world: w, looking: make(chan struct{}, maxLooking), touched: touched,
		asked: map[string]state.Listen{}, open: map[state.Listen]*meter{}}
}

// ask says where a file wants the meters, nil for nowhere. The error is that of its own
// address: nothing else fails with it, and the next ask tries again.
func (m *meters) ask(file string, at *state.Listen) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.asked, file)
	if at != nil {
		m.asked[file] = *at
	}
	return m.settle(at)
}

// settle opens and closes until what is open is what is asked for. The error is that of
// at. The caller holds mu.
func (m *meters) settle(at *state.Listen) (err error) {
	wanted := slices.Collect(maps.Values(m.asked))
	if m.paused {
		wanted = nil
	}
	for where, open := range m.open {
		if !slices.Contains(wanted, where) {
			open.close()
			delete(m.open, where)
		}
	}
	if len(wanted) > 0 && m.tally == nil {
		m.tally = newTally(m.loop)
	}
	for _, where := range wanted {
		if m.open[where] != nil {
			continue
		}
		ln, failed := listenFor(where)
		if failed == nil {
			m.open[where] = newMeter(ln, m, m.tally)
		} else if at != nil && *at == where {
			err = fmt.Errorf("cannot answer /metrics at %s: %w; all else goes on, and the next reload tries again", where, failed)
		}
	}
	if len(m.asked) == 0 && m.tally != nil {
		m.tally.end()
		m.tally = nil
	}
	return err
}

// pause closes what is open, until resume: another process is to answer.
func (m *meters) pause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = true
	m.settle(nil)
}

// resume takes pause back.
func (m *meters) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = false
	m.settle(nil)
}

// end closes everything for good.
func (m *meters) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = true
	clear(m.asked)
	m.settle(nil)
}

// listenFor opens a socket. A file that is left of a daemon that died is in nobody's way.
func listenFor(where state.Listen) (net.Listener, error) {
	ln, err := net.Listen(where.Network, where.Address)
	if where.Network == "unix" && errors.Is(err, unix.EADDRINUSE) && abandoned(where.Address) {
		ln, err = net.Listen(where.Network, where.Address)
	}
	var at *net.OpError
	if errors.As(err, &at) {
		err = at.Err // the address is named anyway
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return ln, err
}

// abandoned removes a socket's file that nobody listens at, and reports whether it has.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED) && os.Remove(path) == nil
}

// remember keeps what a file is read with, and answers /metrics where it says. What is
// wrong with that is said and stops nothing.
func (b *backend) remember(path string, o overrides, req state.Request, result *state.Result) {
	b.files.remember(path, o, req)
	if req.DryRun {
		return
	}
	if err := b.meters.ask(path, o.Metrics); err != nil {
		result.Messages = append(result.Messages, "warning: "+err.Error())
	}
}

// disown ends the answers that only files without an app are left to ask for.
func (b *backend) disown(ctx context.Context) {
	apps, missing := b.chosen(ctx, nil)
	if missing != nil {
		return
	}
	for _, path := range b.files.metered() {
		if !slices.ContainsFunc(apps, func(a state.App) bool { return a.Spec.File == path }) {
			b.meters.ask(path, nil)
		}
	}
}

// metered are the files that ask for an address.
func (f *files) metered() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var paths []string
	for path, o := range f.with {
		if o.Metrics != nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// measure answers again where files asked a daemon before this one to, while they have an
// app.
func (d *daemon) measure(with map[string]overrides) {
	for _, path := range slices.Sorted(maps.Keys(with)) {
		if err := d.backend.meters.ask(path, with[path].Metrics); err != nil {
			d.log.Print(strings.Replace(err.Error(), "cannot answer", "cannot go on to answer", 1))
		}
	}
	d.backend.disown(d.ctx)
}
