package systems

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"supervisor/testdata/load"
)

const (
	webPort   = 3300
	mysqlPort = 3301
	redisPort = 3302
	// poolSize is pool.js's, of each store and worker.
	poolSize = 3
)

// store is what a fake store knows of its clients.
type store struct {
	Open, Goodbyes, Lost, Queries int
}

// store asks a fake store for its counts, on a connection that is one of them.
func (s *system) store(port int) (counts store) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address(port))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(guard))
	goodbye := map[int]string{mysqlPort: "COM_QUIT", redisPort: "QUIT"}[port]
	fmt.Fprintf(conn, "COUNTS\r\n%s\r\n", goodbye)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if lines.Text()[0] == '{' {
			s.Decode(lines.Text(), &counts)
		}
	}
	counts.Open-- // ours
	return counts
}

// stores checks that the pools of the live workers are all that is open, and that no
// connection of a pool ended without a goodbye.
func (s *system) stores(workers int) {
	s.t.Helper()
	for _, port := range []int{mysqlPort, redisPort} {
		c := s.store(port)
		if c.Open != workers*poolSize || c.Lost > 0 {
			s.t.Errorf("store %d: %+v, want %d open and 0 lost", port, c, workers*poolSize)
		}
	}
}

// Nothing is lost on new connections nor on busy keep-alive ones, and each worker's
// pools are closed after its last request.
func TestKeepaliveReloadsUnderLoad(t *testing.T) {
	s := open(t, "keepalive")
	s.Must("start")
	if status, body := s.get(webPort, "/healthz"); status != 200 {
		t.Fatalf("health: %d %s", status, body)
	}
	s.under(func() {
		for range reloads {
			s.clean("web")
			s.stores(2)
		}
	}, s.both(webPort, "/")...)
	s.Must("stop", "web")
	s.stores(0)
	t.Logf("mysql %+v, redis %+v", s.store(mysqlPort), s.store(redisPort))
	if closed, want := s.logged("web", "pools closed"), 2*(reloads+1); closed != want {
		t.Errorf("%d workers closed their pools, want %d", closed, want)
	}
	s.Must("stop")
}

// A request in flight when the signal comes is answered, and its pool is there for it.
func TestKeepaliveFinishesWhatIsInFlight(t *testing.T) {
	s := open(t, "keepalive")
	s.Must("start")
	for _, keepAlive := range []bool{false, true} {
		waiting := s.logged("web", "waiting 2000 ms")
		l := load.Run(t.Context(), load.Config{Address: s.address(webPort), Path: "/wait/2000", Clients: 4, KeepAlive: keepAlive})
		defer l.Stop()
		s.until("web", "waiting 2000 ms", waiting+1)
		s.clean("web")
		if result := l.Stop(); result.Failed > 0 {
			t.Errorf("lost: %v", result)
		}
		s.stores(2)
	}
}

// A store that comes up later than its clients, without depends_on: a worker is ready
// when its pools are.
func TestKeepaliveWaitsForItsStores(t *testing.T) {
	s := open(t, "keepalive")
	s.edit("ecosystem.yaml", func(text string) string {
		return strings.Replace(text, "    depends_on: [mysql, redis]", "    #", 1)
	})
	s.Must("start")
	s.Must("stop", "web")
	s.Must("stop", "redis")
	started := make(chan int, 1)
	go func() { // ends with the command
		started <- s.Run("start", "web").Code
	}()
	s.until("web", fmt.Sprintf("cannot connect to port %d", s.ports[redisPort]), 1)
	s.Must("start", "redis")
	if code := <-started; code != 0 {
		t.Errorf("start: exit %d", code)
	}
	if status, body := s.get(webPort, "/"); status != 200 {
		t.Errorf("status %d: %s", status, body)
	}
}
