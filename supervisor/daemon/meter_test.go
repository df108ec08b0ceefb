package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor"
	"supervisor/supervisor/metrics"
	"supervisor/supervisor/state"
)

func TestTheWordForDeletedIsTheLoops(t *testing.T) {
	if metrics.Deleted != supervisor.Deleted {
		t.Errorf("%q is not %q", metrics.Deleted, supervisor.Deleted)
	}
}

// metered is yaml with an address for the meters.
func (i *instance) metered(at string, apps ...string) string {
	i.t.Helper()
	path := i.yaml(apps...)
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte("metrics: "+at+"\n"), text...), 0o600)
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return path
}

// get asks a meter; the status is 0 where nobody answers.
func get(t *testing.T, at, path string) (status int, body string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	if socket, ok := strings.CutPrefix(at, "unix:"); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
		at = "unix"
	}
	res, err := (&http.Client{Transport: transport, Timeout: guard}).Get("http://" + at + path)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

func wantAnswer(t *testing.T, at, path string, status int, words ...string) {
	t.Helper()
	got, body := get(t, at, path)
	if got != status {
		t.Errorf("%s answers %d, want %d: %s", path, got, status, body)
	}
	for _, w := range words {
		if !strings.Contains(body, w) {
			t.Errorf("no %q in the answer of %s:\n%s", w, path, body)
		}
	}
}

func TestMetersAnswerWhileAFileAsksForThem(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	at := fmt.Sprintf("127.0.0.1:%d", port(t))
	served := port(t)
	web := fmt.Sprintf("name: web\nargs: [worker, serve]\ninstances: 2\nsoak: 0\nlisten_timeout: 60s\nenv: {PORT: %d}", served)
	file := i.metered(at, web)
	i.must(state.Request{Verb: state.VerbStart, File: file})
	wantAnswer(t, at, "/healthz", 200, "ok")
	wantAnswer(t, at, "/readyz", 200, "ok")
	wantAnswer(t, at, "/none", 404)
	i.must(state.Request{Verb: state.VerbReload, Names: []string{"web"}})
	address := fmt.Sprintf(`{app="web",address="tcp://127.0.0.1:%d"}`, served)
	wantAnswer(t, at, "/metrics", 200,
		`supervisor_build_info{version="test",`,
		`supervisor_workers{app="web",state="online"} 2`,
		`supervisor_worker_ready_seconds_count{app="web"} 4`, // counted before the first is started
		`supervisor_worker_drain_seconds_count{app="web"} 2`,
		`supervisor_reloads_total{app="web",result="complete"} 1`,
		`supervisor_worker_kills_total{app="web"} 0`,
		`supervisor_listener_queue_length`+address+` 0`,
		`supervisor_listener_queue_max`+address,
		`supervisor_listener_drops_total`+address+` 0`,
	)

	// An app that gives up is named.
	i.metered(at, web, "name: broken\nargs: [worker, crash]\nmax_restarts: 0\nlisten_timeout: 60s")
	i.do(state.Request{Verb: state.VerbStart, File: file})
	wantAnswer(t, at, "/readyz", 503, "not online: broken")
	wantAnswer(t, at, "/healthz", 200)

	// The file is read again at a reload: another address, then none.
	socket := filepath.Join(i.home, "m.sock")
	i.metered("unix:"+socket, web)
	i.must(state.Request{Verb: state.VerbReload, File: file})
	wantAnswer(t, "unix:"+socket, "/readyz", 200)
	wantAnswer(t, at, "/readyz", 0, "refused")
	i.metered("false", web)
	i.must(state.Request{Verb: state.VerbReload, File: file})
	wantAnswer(t, "unix:"+socket, "/readyz", 0)
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket's file is left")
	}

	// It ends with the file's last app.
	i.metered(at, web)
	i.must(state.Request{Verb: state.VerbReload, File: file})
	wantAnswer(t, at, "/readyz", 200)
	i.must(state.Request{Verb: state.VerbDelete, Names: []string{"web"}})
	wantAnswer(t, at, "/readyz", 0, "refused")
	i.kill()
}

func TestAMetersAddressThatIsTakenStopsNothing(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file := i.metered(ln.Addr().String(), "name: job\nargs: [worker, ready]\nwait_ready: true\nlisten_timeout: 60s")
	result := i.must(state.Request{Verb: state.VerbStart, File: file})
	want := "warning: cannot answer /metrics at tcp://" + ln.Addr().String() + ": address already in use"
	if text := strings.Join(result.Messages, "\n"); !strings.Contains(text, want) {
		t.Errorf("no %q in %q", want, text)
	}
	ln.Close()
	i.must(state.Request{Verb: state.VerbReload, File: file})
	wantAnswer(t, ln.Addr().String(), "/readyz", 200)
	i.kill()
}

// Nobody has to scrape, and whoever connects and says nothing is in nobody's way.
func TestAMeterThatIsLeftAloneEndsWithTheDaemon(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	at := fmt.Sprintf("127.0.0.1:%d", port(t))
	i.must(state.Request{Verb: state.VerbStart, File: i.metered(at, "name: job\nargs: [worker, ready]\nwait_ready: true\nlisten_timeout: 60s")})
	for range 2 * maxScrapers {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	i.kill()
}

// A socket's file of a daemon that died is no obstacle, one that is in use, or is no
// socket, is.
func TestOnlyAnAbandonedSocketIsRemoved(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	at := state.Listen{Network: "unix", Address: path}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd) // the file stays
	ln, err := listenFor(at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenFor(at); err == nil {
		t.Error("a socket in use is taken away")
	}
	ln.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenFor(at); err == nil {
		t.Error("a file is taken away")
	}
}

// A loop that hangs is told, in bounded time.
func TestAHungSupervisorIsNotHealthy(t *testing.T) {
	loop := supervisor.New(state.DaemonInfo{}, 0, sinceBoot) // nobody runs it
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMeter(ln, newMeters(loop, nil, func() {}), nil)
	wantAnswer(t, ln.Addr().String(), "/healthz", 503, errHung.Error())
	m.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	loop.Run(ctx, nil) // lets go who still waits
}
