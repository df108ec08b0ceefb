package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"supervisor/supervisor/state"
)

// decodeRequest reads exactly one request. An unknown key or verb is refused,
// not ignored: it comes from a client that expects something of it.
func decodeRequest(body []byte) (state.Request, error) {
	var req state.Request
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return state.Request{}, fmt.Errorf("cannot read the request: %w", unwrapEOF(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return state.Request{}, errors.New("cannot read the request: more than one JSON value")
	}
	if err := check(req); err != nil {
		return state.Request{}, fmt.Errorf("cannot accept the request: %w", err)
	}
	return req, nil
}

func unwrapEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}

// check refuses what no part of the daemon should have to look at.
func check(req state.Request) error {
	switch req.Verb {
	case state.VerbStart, state.VerbReload, state.VerbRestart, state.VerbStop, state.VerbDelete,
		state.VerbScale, state.VerbSignal, state.VerbReset, state.VerbFlush, state.VerbKill, state.VerbUpgrade:
	default:
		return fmt.Errorf("unknown verb %.40q", string(req.Verb))
	}
	if len(req.Names)+len(req.Only) > MaxNames {
		return fmt.Errorf("it names more than %d apps", MaxNames)
	}
	for _, names := range [][]string{req.Names, req.Only} {
		for _, n := range names {
			if n == "" || strings.ContainsRune(n, 0) {
				return fmt.Errorf("%.40q is no app's name", n)
			}
		}
	}
	for _, path := range [][2]string{{"file", req.File}, {"binary", req.Binary}} {
		if path[1] != "" && (!filepath.IsAbs(path[1]) || strings.ContainsRune(path[1], 0)) {
			return fmt.Errorf("%s %.80q is not an absolute path", path[0], path[1])
		}
	}
	if len(req.ID) > MaxID {
		return fmt.Errorf("its id is longer than %d bytes", MaxID)
	}
	if req.Resume && (req.ID == "" || req.Since.IsZero()) {
		return errors.New("it is to be resumed, and does not say which one it was and since when")
	}
	if s := req.Script; s != nil {
		if s.Path == "" || strings.ContainsRune(s.Path+s.Cwd, 0) {
			return fmt.Errorf("script %.80q is no path", s.Path)
		}
		if !filepath.IsAbs(s.Cwd) {
			return fmt.Errorf("cwd %.80q is not an absolute path", s.Cwd)
		}
	}
	if req.Parallel < 0 {
		return fmt.Errorf("parallel %d is negative", req.Parallel)
	}
	return nil
}
