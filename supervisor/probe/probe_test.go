package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// guard is when a test gives up on what must come.
const guard = 60 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// askedOf runs a probe until its good answer and returns what was told before that.
func askedOf(t *testing.T, c Config, until string) (told []string) {
	t.Helper()
	tells := make(chan error, 100)
	c.Interval, c.Tell = 10*time.Millisecond, func(err error) { tells <- err }
	if c.Timeout == 0 {
		c.Timeout = guard
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	defer p.Stop()
	alarm := time.After(guard)
	for {
		select {
		case err := <-tells:
			switch {
			case err == nil && until == "":
				return told
			case err == nil:
				t.Fatalf("a good answer, after %q", told)
			}
			told = append(told, err.Error())
			if until != "" && strings.Contains(err.Error(), until) {
				return told
			}
		case <-alarm:
			t.Fatalf("no %q; told was %q", until, told)
		}
	}
}

// raw is a server that answers each connection with a text, and counts them.
func raw(t *testing.T, answer func(n int, request string) string) (address string, connections *atomic.Int32) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	connections = new(atomic.Int32)
	go func() { // ends with the listener
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			n := int(connections.Add(1))
			request, _ := http.ReadRequest(bufio.NewReader(conn))
			line := ""
			if request != nil {
				line = request.Method + " " + request.Host + " " + request.RequestURI + " " + fmt.Sprint(request.Close)
			}
			io.WriteString(conn, answer(n, line))
			conn.Close()
		}
	}()
	return ln.Addr().String(), connections
}

func TestHTTPIsGoodFrom200To399(t *testing.T) {
	for status, good := range map[int]bool{200: true, 204: true, 301: true, 399: true, 400: false, 404: false, 500: false, 503: false, 101: false} {
		address, _ := raw(t, func(int, string) string {
			return fmt.Sprintf("HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", status)
		})
		until := ""
		if !good {
			until = fmt.Sprintf("http://%s/ said %d", address, status)
		}
		askedOf(t, Config{Kind: HTTP, Target: "http://" + address + "/"}, until)
	}
}

func TestHTTPIsAskedAnewUntilItIsGood(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	var requests []string
	address, connections := raw(t, func(n int, request string) string {
		requests = append(requests, request)
		return []string{
			"", "no HTTP\r\n\r\n", "HTTP/1.1 503 Wait\r\n\r\n", "HTTP/1.1 503 Wait\r\n\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n",
			"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello",
		}[n-1]
	})
	told := askedOf(t, Config{Kind: HTTP, Target: "http://$HOST:${P}/health?x=$P&y=$1$", Env: []string{"HOST=127.0.0.1", "P=" + address[strings.LastIndexByte(address, ':')+1:]}}, "")
	want := []string{"closed the connection without an answer", "did not answer in HTTP", "said 503", "said 404"}
	if len(told) != len(want) {
		t.Fatalf("told %q", told)
	}
	for i, text := range want {
		if !strings.Contains(told[i], text) || !strings.HasPrefix(told[i], "http://"+address+"/health?x=") {
			t.Errorf("%q, want %q", told[i], text)
		}
	}
	if connections.Load() != 6 || !strings.HasPrefix(requests[0], "GET "+address+" /health?x=") || !strings.HasSuffix(requests[0], "&y=$1$ true") {
		t.Errorf("%d connections, %q", connections.Load(), requests)
	}
}

func TestHTTPOverAUnixSocket(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	ln, err := net.Listen("unix", "w7.sock")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 10)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Host + r.RequestURI
		if len(asked) == 1 {
			w.WriteHeader(503)
		}
	})}
	go server.Serve(ln) // ends with Close
	defer server.Close()
	told := askedOf(t, Config{Kind: HTTP, Target: "http://unix:w$N.sock:/health", Dir: dir, Env: []string{"N=7"}}, "")
	if first := <-asked; first != "localhost/health" || fmt.Sprint(told) != "[http://unix:w7.sock:/health said 503]" {
		t.Errorf("%q, told %q", first, told)
	}
	askedOf(t, Config{Kind: HTTP, Target: "http://unix:" + dir + "/w7.sock", Dir: "/"}, "")
}

func TestAServerThatIsSilentOrEndless(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	askedOf(t, Config{Kind: HTTP, Target: "http://" + ln.Addr().String(), Timeout: 20 * time.Millisecond}, "gave no answer in 20ms")
	askedOf(t, Config{Kind: TCP, Target: ln.Addr().String()}, "") // it is the kernel that connects
	address, _ := raw(t, func(int, string) string {
		return "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", maxAnswer)
	})
	askedOf(t, Config{Kind: HTTP, Target: "http://" + address}, "answer")
	address, _ = raw(t, func(int, string) string { return "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("y", 2*maxAnswer) })
	askedOf(t, Config{Kind: HTTP, Target: "http://" + address}, "")
}

func TestConnections(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	askedOf(t, Config{Kind: Unix, Target: "w-$N.sock", Dir: dir, Env: []string{"N=7"}}, "unix:w-7.sock has no listener")
	ln, err := net.Listen("unix", "w-7.sock")
	if err != nil {
		t.Fatal(err)
	}
	askedOf(t, Config{Kind: Unix, Target: "w-$N.sock", Dir: dir, Env: []string{"N=7"}}, "")
	askedOf(t, Config{Kind: Unix, Target: filepath.Join(dir, "w-7.sock"), Dir: "/"}, "")
	ln.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	askedOf(t, Config{Kind: TCP, Target: tcp.Addr().String()}, "")
	tcp.Close()
	askedOf(t, Config{Kind: TCP, Target: tcp.Addr().String()}, "has no listener")
	askedOf(t, Config{Kind: HTTP, Target: "http://" + tcp.Addr().String()}, "has no listener")
}

func TestCommands(t *testing.T) {
	var ran [][]string
	n := 0
	run := func(_ context.Context, argv []string) error {
		ran = append(ran, argv)
		if n++; n < 3 {
			return errors.New("ended with exit code 3")
		}
		return nil
	}
	told := askedOf(t, Config{Kind: Exec, Target: `check -p $PORT 'a b' $GONE ${PORT}0`, Env: []string{"PORT=80"}, Run: run}, "")
	if fmt.Sprint(told) != "[exec: check -p $PORT 'a b' $GONE ${PORT}0 ended with exit code 3]" {
		t.Errorf("told %q", told)
	}
	if fmt.Sprintf("%q", ran[0]) != `["check" "-p" "80" "a b" "$GONE" "800"]` {
		t.Errorf("ran %q", ran[0])
	}
	slow := func(ctx context.Context, _ []string) error { <-ctx.Done(); return errors.New("killed") }
	askedOf(t, Config{Kind: Exec, Target: "x", Run: slow, Timeout: time.Millisecond}, "gave no answer in 1ms")
}

func TestStopEndsAnOpenQuestion(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p, err := New(Config{Kind: HTTP, Target: "http://" + ln.Addr().String(), Timeout: guard, Interval: guard, Tell: func(err error) { t.Errorf("told %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	p.Stop()
	if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, os.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	conn.Close()
}

func TestItGivesUp(t *testing.T) {
	p, err := New(Config{Kind: TCP, Target: "127.0.0.1:1", Timeout: guard, Interval: time.Millisecond, Within: 20 * time.Millisecond, Tell: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	<-p.over
	p.Stop()
}

func TestWhatCannotBeAsked(t *testing.T) {
	for _, c := range []struct {
		kind, target, says string
	}{
		{HTTP, "http://127.0.0.1:$PORT/", "no PORT"},
		{TCP, "${HOST}:$PORT", "no HOST"},
		{Unix, "$RUN/x", "no RUN"},
		{TCP, "127.0.0.1", "missing port"},
		{HTTP, "http://127.0.0.1:x/", "invalid port"},
		{HTTP, "http://127.0.0.1/$LINES", "invalid"},
		{HTTP, "https://127.0.0.1/", "not http"},
		{HTTP, "http://unix:", "not http://unix"},
		{HTTP, "http://unix:/x:y", "not http://unix"},
		{Exec, "'", "not a command"},
		{"smtp", "x", "no such kind"},
	} {
		_, err := New(Config{Kind: c.kind, Target: c.target, Env: []string{"LINES=\r\nX: y"}})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v, want %q", c.kind, c.target, err, c.says)
		}
	}
}

func TestExpand(t *testing.T) {
	env := []string{"A=1", "B_2=two", "A=second", "E="}
	for text, want := range map[string]string{
		"": "", "$A": "1", "${A}": "1", "x$A/y": "x1/y", "$A$B_2": "1two", "$B_2x": "$B_2x|B_2x", "${B_2}x": "twox",
		"$": "$", "$$A": "$1", "$1": "$1", "${}": "${}", "${A": "${A", "${1}": "${1}", "$E.": ".", "$C": "$C|C", "${C}$D": "${C}$D|C", "a$": "a$", "$é": "$é",
	} {
		got, missing := expand(text, env)
		if missing != "" {
			got += "|" + missing
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzNew(f *testing.F) {
	for _, text := range []string{"http://127.0.0.1:$A/x", "http://[::1]/", "${A}:1", "a'b", "http://%zz", "$"} {
		f.Add(text, "1")
	}
	f.Fuzz(func(t *testing.T, target, value string) {
		env := []string{"A=" + value}
		if text, missing := expand(target, nil); text != target {
			t.Fatalf("%q (%q) became %q with no variable", target, missing, text)
		}
		for _, kind := range []string{HTTP, TCP, Unix, Exec} {
			p, err := New(Config{Kind: kind, Target: target, Env: env, Run: func(context.Context, []string) error { return nil }})
			if err == nil && p.ask == nil {
				t.Fatalf("%s %q has no question", kind, target)
			}
		}
	})
}

// TestQuiesce: an open question is broken off, nothing is asked or told, and then it goes on.
func TestQuiesce(t *testing.T) {
	asked, broken := make(chan bool), make(chan bool, 9)
	var good atomic.Bool
	told := make(chan error, 9)
	p, err := New(Config{Kind: Exec, Target: "x", Interval: time.Millisecond, Timeout: guard,
		Run: func(ctx context.Context, argv []string) error {
			if good.Load() {
				return nil
			}
			asked <- true
			<-ctx.Done()
			broken <- true
			return ctx.Err()
		},
		Tell: func(err error) { told <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	defer p.Stop()
	for range 3 {
		<-asked
		p.Resume() // of one that is at work: nothing
		p.Quiesce()
		p.Quiesce()
		select {
		case <-broken:
		default:
			t.Fatal("the question is open")
		}
		select {
		case <-asked:
			t.Fatal("it asks")
		case err := <-told:
			t.Fatalf("told %v", err)
		default:
		}
		p.Resume()
	}
	<-asked
	p.Quiesce()
	good.Store(true)
	p.Resume()
	if err := <-told; err != nil {
		t.Errorf("told %v", err)
	}
	<-p.over
	p.Quiesce() // of one that is over
	p.Resume()
}

// A worker that is taken over may be told to end before it is attended to.
func TestStopBeforeStart(t *testing.T) {
	p, err := New(Config{Kind: TCP, Target: "127.0.0.1:1", Interval: time.Millisecond, Timeout: guard, Tell: func(err error) { t.Errorf("told %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	p.Start()
	p.Quiesce()
	p.Resume()
	p.Stop()
}

func TestStopOfAQuietOne(t *testing.T) {
	p, err := New(Config{Kind: TCP, Target: "127.0.0.1:1", Interval: time.Millisecond, Timeout: guard, Tell: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	p.Quiesce()
	p.Stop()
	p.Resume()
}
