package control

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Logs calls each with the lines asked for. Without Follow it returns nil after
// the last of them; with it, when ctx ends (its cause), the daemon does for good
// (*BrokenError), or each returns false (nil).
//
// When the daemon goes away the lines go on with its successor's: each comes
// once, if the Backend gives cursors. If it gives none, a followed stream goes on
// with the lines of that moment, and another one is broken once a line has come.
func (c *Client) Logs(ctx context.Context, lq LogQuery, each func(LogLine) bool) error {
	seen, at := false, newPlaces(lq.Cursors)
	return c.insist(ctx, attempt{}, func(a *attempt) error {
		if lq.Cursors = at.cursors(); seen && len(lq.Cursors) == 0 {
			lq.N = 0
		}
		body, err := c.open(ctx, lq.request(), a.wait)
		if err != nil {
			return err
		}
		defer body.Close()
		err = lines(body, func(b []byte) error {
			var l LogLine
			if err := json.Unmarshal(b, &l); err != nil {
				return err
			}
			a.heard()
			at.passed(l)
			if l.Mark {
				return nil
			}
			seen = true
			if !each(l) {
				return errStop
			}
			return nil
		})
		if err == errStop || err == nil && !lq.Follow {
			return nil
		}
		a.last = !lq.Follow && seen && len(at.cursors()) == 0
		return broken(ctx, err)
	})
}

// request asks for the lines by a form: it may have many cursors.
func (lq LogQuery) request() request {
	form := url.Values{"app": lq.Names, "n": {strconv.Itoa(lq.N)}, "cursor": lq.Cursors}
	for key, on := range map[string]bool{"follow": lq.Follow, "out": lq.Out, "err": lq.Err} {
		if on {
			form.Set(key, "1")
		}
	}
	return request{method: http.MethodPost, path: "/v1/logs", kind: "application/x-www-form-urlencoded", body: []byte(form.Encode())}
}

// maxPlaces bounds the cursors of one request, of which net/url takes 10,000.
const maxPlaces = 8192

// places are how far a stream of lines has come in each file. A source may have several
// at a time: the old workers drain into one, the new ones write another.
type places struct {
	given []string // by the caller
	of    map[string]place
	n     int
}

// place is a file's last cursor, the nth of all.
type place struct {
	cursor string
	nth    int
}

func newPlaces(given []string) *places {
	return &places{given: given, of: map[string]place{}}
}

func (p *places) passed(l LogLine) {
	if l.Cursor != "" {
		p.n++
		file, _, _ := strings.Cut(l.Cursor, "=")
		p.of[file] = place{l.Cursor, p.n}
		if len(p.of) > maxPlaces {
			maps.DeleteFunc(p.of, func(_ string, at place) bool { return at.nth <= p.n-maxPlaces })
		}
	}
}

// cursors are the last one of each file, in the order in which they came.
func (p *places) cursors() []string {
	last := slices.SortedFunc(maps.Values(p.of), func(a, b place) int { return a.nth - b.nth })
	cursors := slices.Clone(p.given)
	for _, at := range last {
		cursors = append(cursors, at.cursor)
	}
	return cursors
}
