package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// Behind npm or a shell the main process swallows the signal or dies of it first; the
// server behind it has to drain all the same, and nothing of the group may be left.
func TestReloadBehindAWrapper(t *testing.T) {
	t.Parallel()
	ready := workers.Path("node/ready.js")
	for _, c := range []struct{ name, tool, keys string }{
		{"npm start", "npm", fmt.Sprintf("script: npm\nargs: start\ncwd: %s", workers.Path("node/npmapp"))},
		{"sh", "node", fmt.Sprintf("script: %s\nargs: [node, %s]", workers.Path("sh/wrapper.sh"), ready)},
		{"sh -c", "node", fmt.Sprintf("script: sh\nargs: [-c, 'node \"$0\"; exit $?', %s]", ready)},
		{"sh and npm", "npm", fmt.Sprintf("script: sh\nargs: [-c, 'npm start; exit $?']\ncwd: %s", workers.Path("node/npmapp"))},
		{"whole tree", "node", fmt.Sprintf("script: %s\nargs: [node, %s]\ntreekill: true", workers.Path("sh/wrapper.sh"), ready)},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.tool)
			s := newSupervisor(t)
			port := freePort(t)
			// npm keeps the Node channel from its script, so listening stands for ready.
			// On the first start min_uptime does, and npm may take longer to begin.
			s.ecosystem(fmt.Sprintf("name: web\ninstances: 2\nsoak: 0\nmin_uptime: 50s\nlisten_timeout: 60s\nkill_timeout: 60s\nenv: {PORT: %d, npm_config_update_notifier: 'false'}\n%s", port, c.keys))
			s.must("start", "ecosystem.yaml")
			under(t, on(port), func(*load.Load) {
				for range 3 {
					old := s.groups("web")
					if len(old) < 4 {
						t.Fatalf("two wrappers and their servers are %v", old)
					}
					receipt := s.complete("web")
					for _, w := range receipt.Workers {
						if w.Killed || w.ReadyBy != "listening" {
							t.Errorf("slot %d: %+v", w.Slot, w)
						}
					}
					if left := alive(old); len(left) > 0 {
						t.Errorf("left of the old groups: %v", left)
					}
					if receipt.ConnectionsCut != 0 {
						t.Errorf("the receipt says that %d connections were cut: %+v", receipt.ConnectionsCut, receipt.Workers)
					}
				}
			})
			last := s.groups("web")
			s.must("stop", "web")
			if left := alive(last); len(last) < 4 || len(left) > 0 {
				t.Errorf("left of the groups %v after stop: %v", last, left)
			}
			contains(t, s.read(filepath.Join(s.home, "logs", "web-out-0.log")), "draining")
		})
	}
}

// groups lists the processes of all groups of an app.
func (s *supervisor) groups(name string) (pids []int) {
	s.t.Helper()
	for _, leader := range s.pids(name) {
		pids = append(pids, s.group(leader)...)
	}
	return pids
}
