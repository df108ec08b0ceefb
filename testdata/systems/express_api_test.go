package systems

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"supervisor/testdata/load"
)

// apiPort is express-api's in its ecosystem file.
const apiPort = 3100

func startExpressAPI(t *testing.T) *system {
	t.Helper()
	s := open(t, "express-api")
	s.Must("start")
	// It has no ready message, so a slow first start counts as one that never listens.
	s.until("express-api", "listening on", 1)
	return s
}

// The app drains by itself: nothing is lost on new connections, nor on connections
// that are in use all the time.
func TestExpressAPIReloadsUnderLoad(t *testing.T) {
	s := startExpressAPI(t)
	s.under(func() {
		for range reloads {
			s.clean("express-api")
		}
	}, s.both(apiPort, "/")...)
	s.Must("stop")
	if conn, err := net.Dial("tcp", s.address(apiPort)); err == nil {
		conn.Close()
		t.Error("the port is open after stop")
	}
	if left, want := s.logged("express-api", "left, 0 connections cut"), 2*(reloads+1); left != want {
		t.Errorf("%d workers left with nothing cut, want %d", left, want)
	}
}

// A request in flight when the reload begins is answered by the worker that has it.
func TestExpressAPIFinishesWhatIsInFlight(t *testing.T) {
	s := startExpressAPI(t)
	l := load.Run(t.Context(), load.Config{Address: s.address(apiPort), Path: "/wait/3000", Clients: 4})
	defer l.Stop()
	s.until("express-api", "waiting 3000 ms", 1)
	s.clean("express-api")
	if result := l.Stop(); result.Failed > 0 {
		t.Errorf("lost: %v", result)
	}
}

// A request that outlives the program's own timeout is cut by the program: it leaves
// with status 1, before kill_timeout.
func TestExpressAPICutsWhatOutlivesItsTimeout(t *testing.T) {
	s := open(t, "express-api")
	s.edit("ecosystem.yaml", func(text string) string {
		return strings.Replace(text, "SHUTDOWN_TIMEOUT: 5000", "SHUTDOWN_TIMEOUT: 1000", 1)
	})
	s.Must("start")
	s.until("express-api", "listening on", 1)
	l := load.Run(t.Context(), load.Config{Address: s.address(apiPort), Path: "/wait/50000", Clients: 1, Timeout: guard})
	defer l.Stop()
	s.until("express-api", "waiting 50000 ms", 1)
	var codes []int
	for _, w := range s.reload("express-api")[0].Workers {
		if w.Killed || w.ExitCode == nil {
			t.Fatalf("slot %d was killed: %+v", w.Slot, w)
		}
		codes = append(codes, *w.ExitCode)
	}
	// The client asked again when it was cut, and got a new worker or the second old one.
	if codes[0]+codes[1] == 0 {
		t.Errorf("exit codes %v, want one that cut", codes)
	}
	s.Must("stop")
	if result := l.Stop(); result.Failed == 0 {
		t.Error("a request of 50 s was answered")
	}
}

// Errors are answers; the workers live on.
func TestExpressAPIHandlesErrors(t *testing.T) {
	s := startExpressAPI(t)
	before := s.Pids("express-api")
	for path, want := range map[string]int{"/_health": 200, "/none": 404, "/broken": 500, "/wait/never": 400} {
		if status, body := s.get(apiPort, path); status != want {
			t.Errorf("%s: status %d, want %d: %s", path, status, want, body)
		}
	}
	resp, err := http.Post("http://"+s.address(apiPort)+"/echo", "application/json", bytes.NewBufferString(`{"a":`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("half a JSON: status %d", resp.StatusCode)
	}
	if after := s.Pids("express-api"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("workers %v became %v", before, after)
	}
}
