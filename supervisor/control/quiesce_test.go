package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"supervisor/supervisor/state"
)

func reencode(req state.Request) (state.Request, error) {
	b, err := json.Marshal(req)
	if err != nil {
		return req, err
	}
	return decodeRequest(b)
}

func TestQuiesceHoldsNewcomersAndResumeServesThem(t *testing.T) {
	s, c, _ := serve(t, &fake{})
	if left := s.Quiesce(guarded(t)); left != 0 {
		t.Fatalf("%d requests in work", left)
	}
	errc := make(chan error, 1)
	go func() {
		_, err := c.Ping(guarded(t))
		errc <- err
	}()
	select {
	case err := <-errc:
		t.Fatalf("answered while quiesced: %v", err)
	default:
	}
	s.Resume()
	if err := <-errc; err != nil {
		t.Fatal(err)
	}
	// Twice, and from the middle of a request.
	s.Quiesce(guarded(t))
	s.Quiesce(guarded(t))
	s.Resume()
	s.Resume()
	if _, err := c.Ping(guarded(t)); err != nil {
		t.Fatal(err)
	}
}

func TestQuiesceWaitsForShortRequests(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	b := &fake{list: func(context.Context) {
		close(begun)
		<-finish
	}}
	s, c, _ := serve(t, b)
	got := make(chan error, 1)
	go func() {
		_, err := c.List(guarded(t))
		got <- err
	}()
	<-begun
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	if left := s.Quiesce(expired); left != 1 {
		t.Fatalf("Quiesce reports %d in work, not 1", left)
	}
	quiet := make(chan int, 1)
	go func() { quiet <- s.Quiesce(guarded(t)) }()
	close(finish)
	if left := <-quiet; left != 0 {
		t.Errorf("%d left", left)
	}
	if err := <-got; err != nil {
		t.Errorf("the request in work got %v", err)
	}
	s.Resume()
}

// What is done at once, and not to be done twice, is answered before a handover.
func TestQuiesceWaitsForWhatIsNotToBeDoneTwice(t *testing.T) {
	for _, verb := range []state.Verb{state.VerbSignal, state.VerbReset, state.VerbFlush} {
		t.Run(string(verb), func(t *testing.T) {
			begun, finish := make(chan struct{}), make(chan struct{})
			s, c, _ := serve(t, &fake{do: func(_ context.Context, req state.Request) state.Result {
				if req.Resume {
					t.Error("it is sent again")
					return state.Result{}
				}
				close(begun)
				<-finish
				return state.Result{Touched: []string{"web"}}
			}})
			got := make(chan error, 1)
			go func() {
				_, err := c.Do(guarded(t), state.Request{Verb: verb}, nil)
				got <- err
			}()
			<-begun
			expired, cancel := context.WithCancel(context.Background())
			cancel()
			if left := s.Quiesce(expired); left != 1 {
				t.Errorf("%d are waited for", left)
			}
			close(finish)
			if left := s.Quiesce(guarded(t)); left != 0 {
				t.Errorf("%d left", left)
			}
			if err := <-got; err != nil {
				t.Error(err)
			}
			s.Resume()
		})
	}
}

// Work may take for ever; a handover doesn't wait for it, but for the answer to
// the upgrade itself.
func TestQuiesceCutsWhatWaits(t *testing.T) {
	begun, upgraded := make(chan struct{}, 2), make(chan struct{})
	b := &fake{do: func(ctx context.Context, req state.Request) state.Result {
		if req.Resume {
			return state.Result{Messages: []string{"resumed"}}
		}
		begun <- struct{}{}
		if req.Verb == state.VerbUpgrade {
			<-upgraded
			return state.Result{Error: &state.Error{Code: 1, Message: "the new one is broken"}}
		}
		<-ctx.Done() // the work goes on
		return state.Result{}
	}}
	s, c, _ := serve(t, b)
	type answer struct {
		res state.Result
		err error
	}
	do := func(verb state.Verb) <-chan answer {
		got := make(chan answer, 1)
		go func() {
			res, err := c.Do(guarded(t), state.Request{Verb: verb}, nil)
			got <- answer{res, err}
		}()
		<-begun
		return got
	}
	reload, upgrade := do(state.VerbReload), do(state.VerbUpgrade)
	if left := s.Quiesce(guarded(t)); left != 0 {
		t.Errorf("%d left", left)
	}
	select {
	case a := <-reload:
		t.Fatalf("reload got %+v before anybody serves again", a)
	default:
	}
	close(upgraded)
	if a := <-upgrade; a.err != nil || a.res.Error == nil || a.res.Error.Message != "the new one is broken" {
		t.Errorf("upgrade got %+v", a)
	}
	s.Resume()
	if a := <-reload; a.err != nil || len(a.res.Messages) != 1 {
		t.Errorf("reload got %+v", a)
	}
}

// A request of which half has come when the server is quiesced is not begun, and may
// be sent again.
func TestNothingBeginsWhileQuiesced(t *testing.T) {
	b := &fake{do: func(context.Context, state.Request) state.Result {
		t.Error("it was begun")
		return state.Result{}
	}}
	s, _, path := serve(t, b)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := `{"verb":"stop"}`
	// The server says 100 when the handler reads the body: it is in it by then.
	fmt.Fprintf(c, "POST /v1/do HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); !strings.Contains(line, "100") {
		t.Fatalf("%q, %v", line, err)
	}
	r.ReadString('\n')
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	if left := s.Quiesce(expired); left != 1 {
		t.Errorf("%d in work, want the one that is read", left)
	}
	io.WriteString(c, body)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "0" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	s.Resume()
}

func TestCloseEndsStreamsAndDeliversResults(t *testing.T) {
	finish := make(chan struct{})
	begun := make(chan struct{})
	b := &fake{do: func(context.Context, state.Request) state.Result {
		close(begun)
		<-finish
		return state.Result{Messages: []string{"done"}}
	}}
	s, c, path := serve(t, b)
	results := make(chan error, 1)
	go func() {
		res, err := c.Do(guarded(t), state.Request{Verb: state.VerbKill}, nil)
		if err == nil && len(res.Messages) != 1 {
			err = errors.New("an empty result")
		}
		results <- err
	}()
	<-begun
	follow, lines := make(chan error, 1), make(chan bool, 1)
	go func() {
		follow <- c.Logs(guarded(t), LogQuery{N: 1, Follow: true}, func(LogLine) bool { lines <- true; return true })
	}()
	<-lines
	half, err := net.Dial("unix", path) // asks nothing, must not delay the end
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()

	closed := make(chan error, 1)
	go func() { closed <- s.Close(guarded(t)) }()
	var be *BrokenError
	if err := <-follow; !errors.As(err, &be) {
		t.Errorf("the follower got %v", err)
	}
	close(finish)
	if err := <-results; err != nil {
		t.Errorf("the request in work got %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := c.Ping(guarded(t)); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after Close: %v", err)
	}
}

func TestNoDescriptorIsLeft(t *testing.T) {
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	once := func() {
		dir, _ := os.MkdirTemp("", "ctl")
		defer os.RemoveAll(dir)
		ln, err := net.Listen("unix", dir+"/s")
		if err != nil {
			t.Fatal(err)
		}
		s := Serve(ln, &fake{})
		c := Dial(dir + "/s")
		for range 20 {
			if _, err := c.Ping(guarded(t)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(guarded(t)); err != nil {
			t.Fatal(err)
		}
	}
	here := goleak.IgnoreCurrent()
	settle := func() { // a client's last goroutine closes its connection
		if err := goleak.Find(here); err != nil {
			t.Fatal(err)
		}
	}
	once() // the poller's own descriptors
	settle()
	before := count()
	once()
	settle()
	if after := count(); after > before { // less: a client of an earlier test has gone only now
		t.Errorf("%d descriptors, before %d", after, before)
	}
}
