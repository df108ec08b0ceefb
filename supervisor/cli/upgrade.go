package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

func upgradeCommand() *command {
	return &command{
		name: "upgrade", args: "[BINARY]", max: 1, passive: true,
		usage: "replace the running supervisor; workers and connections stay",
		detail: "BINARY takes over from the running supervisor; none: the one that you are typing.\n" +
			"If it can't, the old one goes on and nothing changes.",
		codes: clientCodes,
		flags: []ucli.Flag{jsonFlag()},
		run:   runUpgrade,
	}
}

// upgradedJSON is upgrade's answer.
type upgradedJSON struct {
	Old         control.Pong `json:"old"`
	New         control.Pong `json:"new"`
	WorkersKept int          `json:"workers_kept"` // running before and after, by pid
	Messages    []string     `json:"messages"`
}

func runUpgrade(s *session, c *ucli.Context) error {
	binary, err := s.binary(c.Args().First())
	if err != nil {
		return err
	}
	ctx, cancel := s.context()
	defer cancel()
	before, err := s.incarnation(ctx)
	if err != nil {
		return err
	}
	res, err := s.do(state.Request{Verb: state.VerbUpgrade, Binary: binary})
	if errors.Is(err, errInterrupted) {
		return err
	}
	after, lost := s.incarnation(ctx)
	var broken *control.BrokenError // the old one may have ended before its answer was out
	switch {
	case err != nil && !errors.As(err, &broken):
		if lost == nil && after.pong.PID == before.pong.PID {
			err = unchanged(err)
		}
		return err
	case lost != nil:
		return failed("cannot tell whether the supervisor was upgraded: %v", lost)
	case after.pong.PID == before.pong.PID:
		return failed("cannot upgrade to %s: pid %d went on; nothing changed", binary, before.pong.PID)
	case after.pong.Binary != binary && (broken != nil || after.pong.Binary == before.pong.Binary):
		return failed("cannot upgrade to %s: the supervisor died on the way, and came back as %s: pid %d -> pid %d (%s)",
			binary, after.pong.Binary, before.pong.PID, after.pong.PID, after.pong.Version)
	}
	kept := after.kept(before)
	if s.json {
		s.out.json(upgradedJSON{before.pong, after.pong, kept, list(res.Messages)})
		return nil
	}
	s.out.linef("supervisor upgraded: pid %d (%s) -> pid %d (%s), %s kept", before.pong.PID, before.pong.Version,
		after.pong.PID, after.pong.Version, plural(kept, "worker"))
	return nil
}

// binary is the real path of what was typed, else of this program.
func (s *session) binary(typed string) (string, error) {
	path := s.env.Executable
	if typed == "" {
		typed = path
	} else {
		var err error
		if path, err = s.env.abs(typed); err != nil {
			return "", usage("cannot upgrade to %s: %v", typed, err)
		}
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", usage("cannot upgrade to %s: no such file", typed)
	}
	if err != nil {
		return "", usage("cannot upgrade to %s: %v", typed, err)
	}
	info, err := os.Stat(real)
	switch {
	case err != nil:
		return "", usage("cannot upgrade to %s: %v", typed, err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return "", usage("cannot upgrade to %s: it is no program", typed)
	}
	return real, nil
}

// incarnation is one process that was or is the supervisor, with its workers' pids.
type incarnation struct {
	pong    control.Pong
	workers map[int]bool
}

// incarnation asks who serves now.
func (s *session) incarnation(ctx context.Context) (incarnation, error) {
	client, err := s.client()
	if err != nil {
		return incarnation{}, err
	}
	i := incarnation{workers: map[int]bool{}}
	if i.pong, err = client.Ping(ctx); err != nil {
		return i, err
	}
	snap, err := s.snapshot(ctx)
	for _, a := range snap.Apps {
		for _, w := range a.Workers {
			if w.PID != 0 {
				i.workers[w.PID] = true
			}
		}
	}
	return i, err
}

// kept counts the workers that ran before, too.
func (i incarnation) kept(before incarnation) int {
	n := 0
	for pid := range i.workers {
		if before.workers[pid] {
			n++
		}
	}
	return n
}

// unchanged adds to a failed upgrade's reason that the old daemon goes on.
func unchanged(err error) error {
	const nothing = "nothing changed"
	var e *state.Error
	if !errors.As(err, &e) || strings.Contains(e.Message, nothing) {
		return err
	}
	told := *e
	told.Message += "; " + nothing
	return &told
}
