package e2e

import (
	"fmt"
	"testing"

	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

func TestReloadOfAnUnmodifiedNodeServer(t *testing.T) {
	need(t, "node")
	s := newSupervisor(t)
	port := freePort(t)
	s.copy("app.js", workers.Path("node/ready.js"))
	s.write("ecosystem.yaml", fmt.Sprintf(`
apps:
  - name: web
    script: app.js
    instances: 2
    wait_ready: true
    listen_timeout: 30s
    env: {PORT: %d}
`, port))
	s.Must("start", "ecosystem.yaml")
	under(t, on(port), func(l *load.Load) {
		for range 20 {
			receipt := s.complete("web")
			if receipt.ConnectionsCut != 0 {
				t.Errorf("the receipt says that %d connections were cut", receipt.ConnectionsCut)
			}
		}
	})
}
