package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"supervisor/supervisor/state"
)

const (
	// headWait is how long the daemon may take for the head of an answer. Streams
	// send theirs at once, however long the work is.
	headWait = 60 * time.Second

	// patience is headWait for a successor: whoever holds the socket while nobody
	// accepts starts one within seconds.
	patience = 30 * time.Second

	// maxBreaks is how often in a row an answer may break off with not one line in
	// it: a request that kills every daemon that hears it must end at some point.
	maxBreaks = 100
)

// silence is a daemon that is there and has said nothing for so long.
type silence time.Duration

func (s silence) Error() string {
	return fmt.Sprintf("the supervisor did not answer within %v (is it stopped, or very busy?)", time.Duration(s))
}

// againError is a refusal of a request of which nothing was begun, and that may be
// sent again at once.
type againError struct{ refused *state.Error }

func (e againError) Error() string { return e.refused.Error() }
func (e againError) Unwrap() error { return e.refused }

// attempt is what one connection of a call knows of those before it.
type attempt struct {
	wait    time.Duration // for the head of the answer; set by insist
	resumed bool          // one before may have been heard: it broke off
	last    bool          // the next break ends the call
	breaks  int           // since the daemon last said something
}

// heard is called for each line of an answer.
func (a *attempt) heard() { a.breaks = 0 }

// insist makes a call by try, again and again while the daemon goes away before it has
// answered. The control socket outlives the daemon with whoever holds it, so the next
// connection waits in its accept queue until a successor serves it; nothing is
// polled. insist gives up, with the error of the break, when nobody listens any
// more, when a successor is silent for patience, or at maxBreaks.
func (c *Client) insist(ctx context.Context, a attempt, try func(*attempt) error) error {
	var broke *BrokenError
	absent := c.Absent
	for a.wait = headWait; ; a.wait = patience {
		err := try(&a)
		if err == nil || ctx.Err() != nil {
			return err
		}
		var mute silence
		switch {
		case errors.As(err, &broke):
			if a.last {
				return err
			}
			a.resumed = true
		case errors.As(err, new(againError)):
		case broke != nil && (errors.Is(err, ErrNoDaemon) || errors.As(err, &mute)):
			return broke
		case absent != nil && errors.Is(err, ErrNoDaemon):
			if err := absent(ctx); err != nil {
				return err
			}
			absent = nil
			continue
		default:
			return err
		}
		if a.breaks++; a.breaks > maxBreaks {
			return err
		}
	}
}
