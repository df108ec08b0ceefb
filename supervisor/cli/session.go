package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

// session is one invocation.
type session struct {
	env     Env
	args    []string // the whole command line
	json    bool
	after   []string // what was typed after --
	passive bool     // the command's
	out     *printer
	path    string // SUPERVISOR_HOME once it is known
}

// shortCall bounds the calls that are answered at once.
const shortCall = 30 * time.Second

func (s *session) home() (string, error) {
	if s.path == "" {
		h, err := s.env.home()
		if err != nil {
			return "", usage("%v", err)
		}
		s.path = h
	}
	return s.path, nil
}

func (s *session) noDaemon() string {
	return fmt.Sprintf("no supervisor runs (HOME %s)", s.path)
}

func (s *session) client() (*control.Client, error) {
	h, err := s.home()
	if err != nil {
		return nil, err
	}
	c := control.Dial(filepath.Join(h, socketName))
	if !s.passive {
		c.Absent = func(context.Context) error { return s.revive() }
	}
	return c, nil
}

// names returns the apps that the daemon has; control.ErrNoDaemon without one.
func (s *session) snapshot(ctx context.Context) (state.Snapshot, error) {
	c, err := s.client()
	if err != nil {
		return state.Snapshot{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, shortCall)
	defer cancel()
	snap, err := c.List(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = failed("the supervisor did not answer within %v (is it stopped, or very busy?)", shortCall)
	}
	return tidySnapshot(snap), err
}

// do sends a request, shows its progress, and prints warnings and notes. The
// result's own error is returned with it, for the caller to tell when it has
// shown the rest.
func (s *session) do(req state.Request) (state.Result, error) {
	c, err := s.client()
	if err != nil {
		return state.Result{}, err
	}
	ctx, cancel := s.context()
	defer cancel()
	var progress func(state.Event)
	var show *progressView
	if !s.json {
		show = newProgress(s.out)
		progress = show.event
	}
	c.OnBreak = func() {
		if show != nil {
			show.end()
			s.out.note("the supervisor was replaced or has died; waiting for its successor")
		}
	}
	res, err := c.Do(ctx, req, progress)
	if show != nil {
		show.end()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = errInterrupted
		}
		return res, err
	}
	tidyResult(&res)
	if !s.json {
		for _, m := range res.Messages {
			s.out.note(m)
		}
	}
	if res.Error != nil {
		return res, res.Error
	}
	return res, nil
}

// simple sends a request whose answer is only that it was done.
func (s *session) simple(req state.Request, done string) error {
	res, err := s.do(req)
	if err != nil {
		return err
	}
	if s.json {
		s.out.json(touchedJSON{Touched: res.Touched, Messages: res.Messages})
		return nil
	}
	if len(res.Touched) == 0 {
		s.out.linef("nothing to do: no app")
	}
	for _, name := range res.Touched {
		s.out.linef("%s: %s", name, done)
	}
	return nil
}

// touchedJSON is the answer of commands that only act.
type touchedJSON struct {
	Touched  []string `json:"touched"`
	Messages []string `json:"messages"`
}

// ensureHome makes SUPERVISOR_HOME, which only its owner may look into. A container may have
// nothing to write to, nor what tells processes apart.
func ensureHome(home string) error {
	const remedy = "set SUPERVISOR_HOME to a folder that can be written to"
	if err := os.MkdirAll(home, 0o700); err != nil {
		return failed("cannot make %s: %v: %s", home, err, remedy)
	}
	if err := unix.Access(home, unix.W_OK|unix.X_OK); err != nil {
		return failed("cannot write to %s: %v: %s", home, err, remedy)
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return failed("cannot start the supervisor: /proc is not mounted: %v", err)
	}
	return nil
}
