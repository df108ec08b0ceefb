package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

// holder keeps a control socket for one daemon after another.
type holder struct {
	t    *testing.T
	path string
	file *os.File
}

func hold(t *testing.T) *holder {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // short: sun_path
	if err != nil {
		t.Fatal(err)
	}
	h := &holder{t: t, path: filepath.Join(dir, "s")}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if h.file, err = ln.File(); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	t.Cleanup(func() {
		h.drop()
		os.RemoveAll(dir)
	})
	return h
}

// drop is the holder's end.
func (h *holder) drop() { h.file.Close() }

// listen is the socket as a daemon inherits it.
func (h *holder) listen() net.Listener {
	h.t.Helper()
	ln, err := net.FileListener(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	return ln
}

// crash ends a server as a SIGKILL does: its connections and its copy of the socket
// are closed, whatever was going on.
func crash(s *Server) {
	s.gate.Close()
	s.http.Close()
	<-s.served
}

func (h *holder) serve(b Backend) *Server {
	h.t.Helper()
	s := Serve(h.listen(), b)
	h.t.Cleanup(func() { crash(s) })
	return s
}

func TestARequestIsResumedByTheSuccessor(t *testing.T) {
	h := hold(t)
	got := make(chan state.Request, 4)
	first := h.serve(&fake{do: func(ctx context.Context, req state.Request) state.Result {
		got <- req
		<-ctx.Done()
		return state.Result{}
	}})
	c := Dial(h.path)
	breaks := 0
	c.OnBreak = func() { breaks++ }
	type answer struct {
		res state.Result
		err error
	}
	answers := make(chan answer, 1)
	asked := time.Now()
	go func() {
		res, err := c.Do(guarded(t), state.Request{Verb: state.VerbReload, Names: []string{"web"}}, func(state.Event) {})
		answers <- answer{res, err}
	}()
	one := <-got
	if one.ID == "" || one.Resume || one.Since.Before(asked.Round(0)) || one.Since.After(time.Now()) {
		t.Errorf("first sent as %+v", one)
	}
	crash(first)
	// The one that dies before it says anything is survived as well.
	ln := h.listen()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	conn.Close()
	h.serve(&fake{do: func(_ context.Context, req state.Request) state.Result {
		got <- req
		return state.Result{Receipts: []state.Receipt{{Name: "web", Result: state.Interrupted}}}
	}})
	a := <-answers
	if a.err != nil || len(a.res.Receipts) != 1 || a.res.Receipts[0].Result != state.Interrupted {
		t.Errorf("Do = %+v, %v", a.res, a.err)
	}
	two := <-got
	if !two.Resume || two.ID != one.ID || !two.Since.Equal(one.Since) || two.Verb != one.Verb || !slices.Equal(two.Names, one.Names) {
		t.Errorf("%+v was resumed as %+v", one, two)
	}
	if breaks != 1 {
		t.Errorf("OnBreak was called %d times", breaks)
	}
}

// In an upgrade both are there: the old one must not accept what the new one is for.
func TestTheQuiescedLeaveTheSocketToTheSuccessor(t *testing.T) {
	h := hold(t)
	s := h.serve(introduced{&fake{}, Pong{KeeperPID: 1}})
	c := Dial(h.path)
	if p, err := c.Ping(guarded(t)); err != nil || p.KeeperPID != 1 {
		t.Errorf("before: %+v, %v", p, err)
	}
	s.Quiesce(guarded(t))
	next := h.serve(introduced{&fake{}, Pong{KeeperPID: 2, Unit: "web.service"}})
	for range 20 {
		if p, err := c.Ping(guarded(t)); err != nil || p.KeeperPID != 2 || p.Unit != "web.service" {
			t.Errorf("meanwhile: %+v, %v", p, err)
		}
	}
	if err := s.Close(guarded(t)); err != nil {
		t.Error(err)
	}
	if p, err := c.Ping(guarded(t)); err != nil || p.KeeperPID != 2 {
		t.Errorf("after: %+v, %v", p, err)
	}
	if err := next.Close(guarded(t)); err != nil {
		t.Error(err)
	}
}

func TestARefusedRequestIsSentAgainAsItWas(t *testing.T) {
	for _, verb := range []state.Verb{state.VerbReload, state.VerbUpgrade} {
		h := hold(t)
		c := Dial(h.path)
		c.OnBreak = func() { t.Error("nothing broke") }
		errs := make(chan error, 1)
		go func() {
			_, err := c.Do(guarded(t), state.Request{Verb: verb}, nil)
			errs <- err
		}()
		ln := h.listen()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		body := `{"error":{"code":1,"message":"the daemon is being replaced; try again","details":[]}}`
		answerRaw(conn, fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		got := make(chan state.Request, 1)
		h.serve(&fake{do: func(_ context.Context, req state.Request) state.Result {
			got <- req
			return state.Result{}
		}})
		if err := <-errs; err != nil {
			t.Errorf("%s: %v", verb, err)
		}
		if req := <-got; req.Resume {
			t.Errorf("%s: nothing of it was begun, and it is to be resumed", verb)
		}
	}
}

func TestAnUpgradeIsNotResumed(t *testing.T) {
	h := hold(t)
	begun := make(chan struct{})
	s := h.serve(&fake{do: func(ctx context.Context, _ state.Request) state.Result {
		close(begun)
		<-ctx.Done()
		return state.Result{}
	}})
	errs := make(chan error, 1)
	go func() {
		_, err := Dial(h.path).Do(guarded(t), state.Request{Verb: state.VerbUpgrade}, nil)
		errs <- err
	}()
	<-begun
	crash(s)
	var be *BrokenError
	if err := <-errs; !errors.As(err, &be) {
		t.Errorf("Do = %v", err)
	}
}

func TestShortCallsSurviveACrash(t *testing.T) {
	h := hold(t)
	begun := make(chan struct{})
	s := h.serve(&fake{list: func(ctx context.Context) {
		close(begun)
		<-ctx.Done()
	}})
	errs := make(chan error, 1)
	go func() {
		_, err := Dial(h.path).List(guarded(t))
		errs <- err
	}()
	<-begun
	crash(s)
	h.serve(&fake{})
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

// A request that every daemon dies of must not be sent for ever.
func TestABrokenAnswerIsNotAskedForForEver(t *testing.T) {
	h := hold(t)
	ln := h.listen()
	errs := make(chan error, 1)
	go func() {
		_, err := Dial(h.path).Do(guarded(t), state.Request{Verb: state.VerbReload}, nil)
		errs <- err
	}()
	for range maxBreaks + 1 {
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		answerRaw(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	}
	ln.Close()
	var be *BrokenError
	if err := <-errs; !errors.As(err, &be) {
		t.Errorf("Do = %v", err)
	}
}

// A holder whose daemon never comes back, as seen by a client that waits.
func TestASilentSuccessor(t *testing.T) {
	h := hold(t)
	c := Dial(h.path)
	broke := &BrokenError{Cause: errors.New("gone")}
	n := 0
	err := c.insist(guarded(t), attempt{}, func(a *attempt) error {
		if n++; n == 1 {
			return broke
		}
		if !a.resumed || a.wait != patience {
			t.Errorf("resumed %v, waits %v", a.resumed, a.wait)
		}
		_, err := c.open(guarded(t), request{method: "GET", path: "/v1/ping"}, time.Millisecond)
		return err
	})
	if err != broke || n != 2 {
		t.Errorf("%v after %d attempts", err, n)
	}
	_, err = c.open(guarded(t), request{method: "GET", path: "/v1/ping"}, time.Millisecond)
	if err == nil || err.Error() != "the supervisor did not answer within 1ms (is it stopped, or very busy?)" {
		t.Errorf("the first attempt: %v", err)
	}
}

func TestAbsent(t *testing.T) {
	h := hold(t)
	ln := h.listen()
	h.drop()
	ln.Close()
	c := Dial(h.path)
	asked := 0
	c.Absent = func(context.Context) error {
		asked++
		return errors.New("nothing was left behind")
	}
	if _, err := c.Ping(guarded(t)); err == nil || err.Error() != "nothing was left behind" || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	c.Absent = func(context.Context) error { asked++; return nil }
	if _, err := c.Ping(guarded(t)); !errors.Is(err, ErrNoDaemon) || asked != 2 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	var s *Server
	c.Absent = func(context.Context) error {
		os.Remove(h.path)
		ln, err := net.Listen("unix", h.path)
		if err == nil {
			s = Serve(ln, &fake{})
		}
		return err
	}
	if _, err := c.Ping(guarded(t)); err != nil {
		t.Error(err)
	}
	crash(s)
}
