package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	h := hold(t)
	got := make(chan state.Request, 1)
	c := Dial(h.path)
	c.OnBreak = func() { t.Error("nothing broke") }
	errs := make(chan error, 1)
	go func() {
		_, err := c.Do(guarded(t), state.Request{Verb: state.VerbUpgrade}, nil)
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
	// An upgrade is not resumed, but this one was never begun.
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("upgrade: %v", err)
	}
	go func() {
		_, err := c.Do(guarded(t), state.Request{Verb: state.VerbReload}, nil)
		errs <- err
	}()
	ln = h.listen()
	if conn, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	answerRaw(conn, fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	h.serve(&fake{do: func(_ context.Context, req state.Request) state.Result {
		got <- req
		return state.Result{}
	}})
	if err := <-errs; err != nil {
		t.Error(err)
	}
	if req := <-got; req.Resume {
		t.Error("nothing of it was begun, and it is to be resumed")
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

// script is a Backend's Logs that gives some lines, and then waits or ends.
func script(asked chan<- LogQuery, lines ...LogLine) func(context.Context, LogQuery) (<-chan LogLine, error) {
	return func(ctx context.Context, q LogQuery) (<-chan LogLine, error) {
		ch := make(chan LogLine)
		go func() { // ends after its lines or with ctx
			defer close(ch)
			for _, l := range lines {
				select {
				case ch <- l:
				case <-ctx.Done():
					return
				}
			}
			asked <- q
			if q.Follow {
				<-ctx.Done()
			}
		}()
		return ch, nil
	}
}

func TestLogsGoOnAtTheirCursors(t *testing.T) {
	line := func(app string, slot int, stream, cursor, text string) LogLine {
		return LogLine{App: app, Slot: slot, Stream: stream, Cursor: cursor, Text: text, Mark: text == ""}
	}
	tests := []struct {
		name string
		with []LogLine
		want LogQuery // of the successor
	}{
		{"nothing came", nil, LogQuery{N: 7}},
		{"no cursors", []LogLine{line("web", 0, "out", "", "a")}, LogQuery{N: 0}},
		{"one source", []LogLine{line("web", 0, "out", "c1", "a"), line("web", 0, "out", "c2", "b")}, LogQuery{N: 7, Cursors: []string{"c2"}}},
		{"sources, and one that is silent", []LogLine{
			line("web", 0, "err", "quiet", ""), line("web", 0, "out", "o1", "a"), line("web", 1, "out", "p1", "b"), line("web", 0, "out", "o2", "c")},
			LogQuery{N: 7, Cursors: []string{"quiet", "p1", "o2"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hold(t)
			asked := make(chan LogQuery, 1)
			first := h.serve(&fake{logs: script(asked, tt.with...)})
			shown := make(chan string, 16)
			errs := make(chan error, 1)
			go func() {
				errs <- Dial(h.path).Logs(guarded(t), LogQuery{Names: []string{"web"}, N: 7, Follow: true, Out: true}, func(l LogLine) bool {
					shown <- l.Text
					return l.Text != "last"
				})
			}()
			if q := <-asked; q.N != 7 || len(q.Cursors) != 0 {
				t.Errorf("first asked %+v", q)
			}
			for _, l := range tt.with {
				if !l.Mark {
					if got := <-shown; got != l.Text {
						t.Errorf("%q came, not %q", got, l.Text)
					}
				}
			}
			crash(first)
			h.serve(&fake{logs: script(asked, line("web", 0, "out", "z", "last"))})
			if err := <-errs; err != nil {
				t.Error(err)
			}
			q := <-asked
			if q.N != tt.want.N || !slices.Equal(q.Cursors, tt.want.Cursors) || !q.Follow || !slices.Equal(q.Names, []string{"web"}) {
				t.Errorf("asked the successor %+v", q)
			}
			if got := <-shown; got != "last" || len(shown) > 0 {
				t.Errorf("%q came, %d more", got, len(shown))
			}
		})
	}
}

// What is quiesced ends no answer as if it were whole.
func TestLogsThatAreNotFollowedAreCutNotEnded(t *testing.T) {
	h := hold(t)
	stuck := make(chan struct{})
	s := h.serve(&fake{logs: func(ctx context.Context, _ LogQuery) (<-chan LogLine, error) {
		ch := make(chan LogLine)
		go func() { // ends with ctx
			ch <- LogLine{Text: "a"}
			close(stuck)
			<-ctx.Done()
		}()
		return ch, nil
	}})
	got := make(chan error, 1)
	go func() {
		got <- Dial(h.path).Logs(guarded(t), LogQuery{N: 2}, func(LogLine) bool { return true })
	}()
	<-stuck
	s.Quiesce(guarded(t))
	var be *BrokenError // "a" was shown already, and it had no cursor
	if err := <-got; !errors.As(err, &be) {
		t.Errorf("Logs = %v", err)
	}
}

func TestEventsGoOn(t *testing.T) {
	h := hold(t)
	b := &fake{}
	s := h.serve(b)
	got, errs := make(chan state.Event), make(chan error, 1)
	go func() {
		errs <- Dial(h.path).Events(guarded(t), func(e state.Event) bool {
			got <- e
			return e.App != "last"
		})
	}()
	flood := func(b *fake, app string) func() { // until it is told to end: nobody knows when the stream listens
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					b.publish(state.Event{App: app})
				}
			}
		}()
		return func() { close(stop); <-done }
	}
	end := flood(b, "first")
	if e := <-got; e.App != "first" {
		t.Errorf("%+v", e)
	}
	end()
	crash(s)
	b = &fake{}
	h.serve(b)
	end = flood(b, "last")
	defer end()
	note := false
	for e := range got {
		note = note || e.Kind == state.EventNote && strings.Contains(e.Text, "not shown")
		if e.App == "last" {
			break
		}
	}
	if !note {
		t.Error("the gap was not told")
	}
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

// daemon is the test binary as a daemon that has the socket as descriptor 3.
type daemon struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func (h *holder) spawn() *daemon {
	h.t.Helper()
	d := &daemon{cmd: exec.Command("/proc/self/exe")}
	d.cmd.Env = append(os.Environ(), "CONTROL_TEST_DAEMON=1")
	d.cmd.ExtraFiles = []*os.File{h.file}
	out, err := d.cmd.StdoutPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	d.out = bufio.NewReader(out)
	return d
}

func (d *daemon) kill() {
	d.cmd.Process.Kill()
	d.cmd.Wait()
}

// lastLine is the number of the last line of each source that daemonMain has.
const lastLine = 20_000

// daemonMain begins a request that is new, and says so; it answers one that is
// resumed. Its logs are numbers, a pair of sources by turns.
func daemonMain() {
	ln, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		fmt.Println(err)
		return
	}
	b := &fake{do: func(_ context.Context, req state.Request) state.Result {
		if req.Resume {
			return state.Result{Messages: []string{req.ID}}
		}
		fmt.Println(req.ID)
		select {}
	}}
	b.logs = func(ctx context.Context, q LogQuery) (<-chan LogLine, error) {
		at := [2]int{}
		for _, c := range q.Cursors {
			slot, n, _ := strings.Cut(c, ":")
			i, _ := strconv.Atoi(slot)
			at[i], _ = strconv.Atoi(n)
		}
		ch := make(chan LogLine)
		go func() { // ends with ctx
			for at[0] < lastLine || at[1] < lastLine {
				i := 0
				if at[1] < at[0] {
					i = 1
				}
				at[i]++
				l := LogLine{App: "web", Slot: i, Stream: "out", Text: strconv.Itoa(at[i]), Cursor: fmt.Sprintf("%d:%d", i, at[i])}
				select {
				case ch <- l:
				case <-ctx.Done():
					return
				}
			}
		}()
		return ch, nil
	}
	Serve(ln, b)
	select {}
}

func TestSIGKILLInTheMiddleOfARequest(t *testing.T) {
	h := hold(t)
	d := h.spawn()
	type answer struct {
		res state.Result
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		res, err := Dial(h.path).Do(guarded(t), state.Request{Verb: state.VerbReload}, nil)
		answers <- answer{res, err}
	}()
	id, err := d.out.ReadString('\n')
	d.kill()
	if err != nil {
		t.Fatal(err)
	}
	d = h.spawn()
	defer d.kill()
	if a := <-answers; a.err != nil || len(a.res.Messages) != 1 || a.res.Messages[0] != strings.TrimSpace(id) {
		t.Errorf("Do = %+v, %v; want the answer to %s", a.res, a.err, id)
	}
}

func TestSIGKILLInTheMiddleOfLogs(t *testing.T) {
	h := hold(t)
	d := h.spawn()
	defer func() { d.kill() }()
	var seen [2]int
	shown := 0
	err := Dial(h.path).Logs(guarded(t), LogQuery{Follow: true}, func(l LogLine) bool {
		n, _ := strconv.Atoi(l.Text)
		if n != seen[l.Slot]+1 {
			t.Errorf("line %d of slot %d after %d", n, l.Slot, seen[l.Slot])
			return false
		}
		seen[l.Slot] = n
		if shown++; shown%4001 == 0 {
			d.kill()
			d = h.spawn()
		}
		return seen != [2]int{lastLine, lastLine}
	})
	if err != nil {
		t.Error(err)
	}
}
