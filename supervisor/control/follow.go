package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"supervisor/supervisor/state"
)

// errStop ends a stream from within.
var errStop = errors.New("stop")

// Do sends a request, calls progress (may be nil) with the events of the apps it
// touches, and returns how it ended. A failure of the work is in Result.Error; the
// error is for what came in between: ErrNoDaemon, a *BrokenError, a *state.Error
// for a refused request, or ctx's. When ctx ends the work goes on.
func (c *Client) Do(ctx context.Context, req state.Request, progress func(state.Event)) (state.Result, error) {
	b, err := json.Marshal(req)
	if err != nil {
		return state.Result{}, fmt.Errorf("cannot encode the request: %w", err)
	}
	q := url.Values{}
	if progress == nil {
		q.Set("quiet", "1")
	}
	body, err := c.open(ctx, http.MethodPost, "/v1/do", q, bytes.NewReader(b))
	if err != nil {
		return state.Result{}, err
	}
	defer body.Close()
	var res *state.Result
	err = lines(body, func(b []byte) error {
		var line doLine
		if err := json.Unmarshal(b, &line); err != nil {
			return err
		}
		if line.Event != nil && progress != nil {
			progress(*line.Event)
		}
		if line.Result != nil {
			res = line.Result
			return errStop
		}
		return nil
	})
	if res != nil {
		return *res, nil
	}
	return state.Result{}, broken(ctx, err)
}

// Events calls each with everything that happens until ctx ends (its cause is
// the error), the daemon does (*BrokenError), or each returns false (nil).
func (c *Client) Events(ctx context.Context, each func(state.Event) bool) error {
	body, err := c.open(ctx, http.MethodGet, "/v1/events", nil, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	err = lines(body, func(b []byte) error {
		var e state.Event
		if err := json.Unmarshal(b, &e); err != nil {
			return err
		}
		if !each(e) {
			return errStop
		}
		return nil
	})
	if err == errStop {
		return nil
	}
	return broken(ctx, err)
}

// Logs calls each with the lines asked for. Without Follow it returns nil after
// the last of them; with it, when ctx ends (its cause), the daemon does
// (*BrokenError), or each returns false (nil).
func (c *Client) Logs(ctx context.Context, lq LogQuery, each func(LogLine) bool) error {
	q := url.Values{"app": lq.Names, "n": {strconv.Itoa(lq.N)}}
	for key, on := range map[string]bool{"follow": lq.Follow, "out": lq.Out, "err": lq.Err} {
		if on {
			q.Set(key, "1")
		}
	}
	body, err := c.open(ctx, http.MethodGet, "/v1/logs", q, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	err = lines(body, func(b []byte) error {
		var l LogLine
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		if !each(l) {
			return errStop
		}
		return nil
	})
	if err == errStop || err == nil && !lq.Follow {
		return nil
	}
	return broken(ctx, err)
}
