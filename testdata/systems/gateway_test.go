package systems

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"supervisor/testdata/load"
)

const gatewayPort = 3400

func startGateway(t *testing.T) *system {
	t.Helper()
	s := open(t, "gateway")
	s.Must("start")
	return s
}

// known waits until both gateways have every instance of a service: they are ready when
// they have one.
func (s *system) known(service string) {
	s.t.Helper()
	for slot, pid := range s.Pids(service) {
		s.until("gateway", fmt.Sprintf("there is %s-%d-%d", service, slot, pid), 2)
	}
}

// Services, gateway and distributor are reloaded one after the other, so that services
// also change while nobody has found the new distributor yet. Nothing is lost: a service
// says goodbye, and a request for which nobody is known waits.
func TestGatewayReloadsUnderLoad(t *testing.T) {
	s := startGateway(t)
	s.under(func() {
		for range reloads {
			for _, app := range []string{"goods", "users", "gateway", "distributor"} {
				s.clean(app)
			}
		}
		s.clean() // all, each after those it depends on
	}, load.Config{Address: s.address(gatewayPort), Path: "/goods/2"},
		load.Config{Address: s.address(gatewayPort), Path: "/users", KeepAlive: true})
	t.Logf("%d requests waited for a service", s.logged("gateway", "a request waits for"))
	if lost := s.logged("gateway", "lost "); lost > 0 {
		t.Errorf("gateways lost a service %d times", lost)
	}
	s.Must("stop")
	if said := s.logged("goods", "says goodbye"); said != 2*(reloads+2) {
		t.Errorf("%d instances of goods said goodbye", said)
	}
}

// A request that an instance works on when it is told to go is answered, whether the
// service or the gateway is reloaded.
func TestGatewayFinishesWhatIsInFlight(t *testing.T) {
	s := startGateway(t)
	for _, app := range []string{"users", "gateway"} {
		t.Run(app, func(t *testing.T) {
			waiting := s.logged("users", "waiting 2500 ms")
			l := load.Run(t.Context(), load.Config{Address: s.address(gatewayPort), Path: "/users/wait/2500", Clients: 4})
			defer l.Stop()
			s.until("users", "waiting 2500 ms", waiting+1)
			s.clean(app)
			if result := l.Stop(); result.Failed > 0 {
				t.Errorf("lost: %v", result)
			}
		})
	}
}

var lostWith = regexp.MustCompile(`lost (\S+) with (\d+) requests`)

// What the protocol can't save is what an instance was working on when it was killed.
// Exactly that is lost, as the gateways count it, and nothing else.
func TestGatewayLosesOnlyWhatAKilledInstanceHad(t *testing.T) {
	s := startGateway(t)
	s.known("goods")
	results := s.lossy(func() {
		for slot := range 2 {
			victim := s.Pids("goods")[slot]
			there := fmt.Sprintf("there is goods-%d-", slot)
			known := s.logged("gateway", there)
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.until("gateway", fmt.Sprintf("lost goods-%d-%d", slot, victim), 2) // both gateways
			s.until("gateway", there, known+2)                                   // and both have its successor
			s.clean("goods")
			s.known("goods")
		}
	}, load.Config{Address: s.address(gatewayPort), Path: "/goods", Think: -1})
	lost := 0
	files, _ := filepath.Glob(filepath.Join(s.Home, "logs", "gateway-out-*.log"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range lostWith.FindAllSubmatch(text, -1) {
			n, _ := strconv.Atoi(string(m[2]))
			lost += n
		}
	}
	t.Logf("%d requests were with the killed instances", lost)
	if r := results[0]; r.Failed != lost || r.Failures[load.Status] != lost {
		t.Errorf("%d requests lost, %d were with the killed instances: %v", r.Failed, lost, r)
	}
}

// Requests of one gateway go to the instances in turn, and errors are answers.
func TestGatewayTakesTurns(t *testing.T) {
	s := startGateway(t)
	client := http.Client{Timeout: guard} // one connection: one gateway
	defer client.CloseIdleConnections()
	ask := func(method, path, body string) (status int, by string) {
		req, err := http.NewRequest(method, "http://"+s.address(gatewayPort)+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body) // else the connection can't be used again
		return resp.StatusCode, resp.Header.Get("X-Served-By")
	}
	s.known("goods")
	var turns []string
	for range 6 {
		_, by := ask("GET", "/goods", "")
		turns = append(turns, by)
	}
	for i := 2; i < len(turns); i++ {
		if turns[i] != turns[i-2] || turns[i] == turns[i-1] {
			t.Fatalf("the turns are %v", turns)
		}
	}
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/goods/2", "", 200},
		{"GET", "/goods/9", "", 404},
		{"DELETE", "/goods/2", "", 405},
		{"POST", "/users/login", `{"name": "ada"}`, 200},
		{"POST", "/users/login", `{"name": "mallory"}`, 401},
		{"POST", "/users/login", `{"name": `, 400},
		{"GET", "/", "", 404},
	} {
		if status, _ := ask(c.method, c.path, c.body); status != c.want {
			t.Errorf("%s %s %s: status %d, want %d", c.method, c.path, c.body, status, c.want)
		}
	}
}
