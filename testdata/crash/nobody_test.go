package crash

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/workers"
)

// gap is how long no supervisor runs: what asks meanwhile waits for that long.
const gap = time.Second

// ask has a worker ask the kernel for something, and returns its answer.
func ask(port int, what string, about int) (string, error) {
	client := &http.Client{Timeout: guard, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/%s?port=%d", port, what, about))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", text)
	}
	return string(text), err
}

// While no supervisor runs, what it would be asked waits, and then works.
func TestNobodyIsThere(t *testing.T) {
	lab.Need(t, "node")
	goes := &app{name: "go", script: program(t, "asker"), instances: 1}
	node := &app{name: "node", script: workers.Path("node/asker.js"), instances: 1}
	s := newSite(t, goes, node)
	s.Must("start")
	before := s.steady()
	for _, question := range []struct {
		app  *app
		what string
		want string
	}{
		{goes, "dial", "ok"}, {goes, "listen", "ok"}, {goes, "dgram", "ok"},
		{node, "dial", "ok, 0 disconnects"}, {node, "listen", "ok, 0 disconnects"}, {node, "dgram", "ok, 0 disconnects"},
	} {
		t.Run(question.app.name+" "+question.what, func(t *testing.T) {
			about := ports.Free(t)
			if question.what == "dial" {
				about = goes.port
			}
			type answer struct {
				text string
				err  error
			}
			keeper, daemon := s.keeper(), s.daemon()
			keeper.Signal(unix.SIGSTOP) // else the next daemon is there at once
			daemon.Kill()
			begun := time.Now()
			answered := make(chan answer, 1)
			go func() { // ends with the answer, at guard at the latest
				text, err := ask(question.app.port, question.what, about)
				answered <- answer{text, err}
			}()
			select {
			case a := <-answered:
				t.Errorf("nobody is there, and the answer after %v is %q, %v", time.Since(begun), a.text, a.err)
				answered <- a
			case <-time.After(gap): // this very time is what is tried
			}
			keeper.Signal(unix.SIGCONT)
			if a := <-answered; a.err != nil || a.text != question.want {
				t.Errorf("%q, %v", a.text, a.err)
			}
			s.same("a second without a supervisor", before, s.steady())
			s.speaks(node)
		})
	}
}

// speaks checks that what a Node worker sends over its channel comes.
func (s *site) speaks(a *app) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), guard)
	defer cancel()
	events := s.Events(ctx)
	if text, err := ask(a.port, "dgram", ports.Free(s.t)); err != nil || text != "ok, 0 disconnects" {
		s.t.Errorf("%q, %v", text, err)
	}
	for {
		e, ok := events.Next()
		if !ok {
			s.t.Fatalf("no message comes: %v", events.Err())
		}
		if e.Kind == state.EventMessage && e.App == a.name {
			return
		}
	}
}
