package crash

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/testdata/lab"
)

// ask asks the daemon's meter, which is at a socket, over a connection of its own.
func (s *site) ask(socket, path string) (int, string) {
	s.t.Helper()
	client := http.Client{Timeout: guard, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	answer, err := client.Get("http://daemon" + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// Whoever comes after a daemon answers where it did, by the time that commands are heard.
func TestMetricsOutliveADeathAndAnUpgrade(t *testing.T) {
	s := newSite(t, web(t))
	file, socket := filepath.Join(s.Dir, "ecosystem.yaml"), filepath.Join(s.Home, "metrics.sock")
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append([]byte("metrics: unix:"+socket+"\n"), text...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Must("start")
	before := s.steady()
	answers := func() {
		t.Helper()
		if status, text := s.ask(socket, "/readyz"); status != http.StatusOK {
			t.Errorf("/readyz answers %d: %s", status, text)
		}
		_, text := s.ask(socket, "/metrics")
		for _, want := range []string{`supervisor_workers{app="web",state="online"} 2`, `supervisor_listener_queue_length{app="web"`} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
	}
	answers()
	s.dies()
	s.same("after a death", before, s.steady())
	answers()
	s.Must("upgrade", lab.Binary)
	s.same("after an upgrade", before, s.steady())
	answers()
}
