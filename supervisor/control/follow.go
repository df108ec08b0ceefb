package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"supervisor/supervisor/state"
)

// errStop ends a stream from within.
var errStop = errors.New("stop")

// Do sends a request, calls progress (may be nil) with the events of the apps it
// touches, and returns how it ended. A failure of the work is in Result.Error; the
// error is for what came in between: ErrNoDaemon, a *BrokenError, a *state.Error
// for a refused request, or ctx's. When ctx ends the work goes on.
//
// When the daemon goes away before the result, the request is sent to its
// successor with Resume (state.Request says what that means). An upgrade is not: that
// the daemon went away may be its success, and the *BrokenError is the caller's to
// look into.
func (c *Client) Do(ctx context.Context, req state.Request, progress func(state.Event)) (state.Result, error) {
	if req.ID == "" {
		req.ID, req.Since = rand.Text(), time.Now()
	}
	onBreak := c.OnBreak
	var res state.Result
	err := c.insist(ctx, attempt{last: req.Verb == state.VerbUpgrade}, func(a *attempt) error {
		if a.resumed {
			req.Resume = true
			if onBreak != nil {
				onBreak()
				onBreak = nil
			}
		}
		got, err := c.do(ctx, a, req, progress)
		if err == nil {
			res = *got
		}
		return err
	})
	return res, err
}

// do is one connection of Do.
func (c *Client) do(ctx context.Context, a *attempt, req state.Request, progress func(state.Event)) (*state.Result, error) {
	b, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the request: %w", err)
	}
	q := url.Values{}
	if progress == nil {
		q.Set("quiet", "1")
	}
	body, err := c.open(ctx, request{method: http.MethodPost, path: "/v1/do", query: q, kind: "application/json", body: b}, a.wait)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var res *state.Result
	err = lines(body, func(b []byte) error {
		var line doLine
		if err := json.Unmarshal(b, &line); err != nil {
			return err
		}
		a.heard()
		if line.Event != nil && progress != nil {
			progress(*line.Event)
		}
		if line.Result != nil {
			res = line.Result
			return errStop
		}
		return nil
	})
	if res == nil {
		return nil, broken(ctx, err)
	}
	return res, nil
}

// Events calls each with everything that happens until ctx ends (its cause is
// the error), the daemon does for good (*BrokenError), or each returns false (nil).
// When the daemon is replaced the stream goes on with its successor's, and a note
// says that what came in between is missing.
func (c *Client) Events(ctx context.Context, each func(state.Event) bool) error {
	return c.insist(ctx, attempt{}, func(a *attempt) error {
		body, err := c.open(ctx, request{method: http.MethodGet, path: "/v1/events"}, a.wait)
		if err != nil {
			return err
		}
		defer body.Close()
		if a.resumed && !each(state.Event{Kind: state.EventNote, Time: time.Now(),
			Text: "the supervisor was replaced or died; what happened until its successor came is not shown"}) {
			return nil
		}
		err = lines(body, func(b []byte) error {
			var e state.Event
			if err := json.Unmarshal(b, &e); err != nil {
				return err
			}
			a.heard()
			if !each(e) {
				return errStop
			}
			return nil
		})
		if err == errStop {
			return nil
		}
		return broken(ctx, err)
	})
}
