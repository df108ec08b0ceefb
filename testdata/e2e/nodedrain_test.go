package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// Node programs as they come lose nothing, on new connections and on busy keep-alive
// at the same time: one without any handler, and one that closes on SIGINT.
func TestNodeProgramsAreHelpedToDrain(t *testing.T) {
	for _, app := range []string{"plain.js", "ready.js"} {
		t.Run(app, func(t *testing.T) {
			t.Parallel()
			need(t, "node")
			s := newSupervisor(t)
			port := freePort(t)
			s.ecosystem(fmt.Sprintf("name: web\nscript: %s\ninstances: 2\nsoak: 0\nlisten_timeout: 60s\nenv: {PORT: %d}",
				workers.Path("node/"+app), port))
			s.Must("start")
			kept := on(port)
			kept.KeepAlive = true
			under(t, kept, func(*load.Load) {
				under(t, on(port), func(*load.Load) {
					for range 10 {
						if r := s.complete("web"); r.ConnectionsCut != 0 {
							t.Errorf("the receipt says that %d connections were cut", r.ConnectionsCut)
						}
					}
				})
			})
		})
	}
}

// node_drain: false leaves a program alone, and the user's own NODE_OPTIONS are kept
// in either case.
func TestNodeOptionsAreTheUsers(t *testing.T) {
	t.Parallel()
	need(t, "node")
	s := newSupervisor(t)
	s.write("mine.cjs", "globalThis.mine = 'yes'")
	s.write("app.js", `console.log('mine ' + globalThis.mine + ', helped ' + /preload/.test(process.env.NODE_OPTIONS)); process.send('ready'); setInterval(() => {}, 1e6)`)
	keys := "script: app.js\nwait_ready: true\nlisten_timeout: 60s\nenv: {NODE_OPTIONS: '--require " + filepath.Join(s.Dir, "mine.cjs") + "'}"
	s.ecosystem("name: helped\n"+keys, "name: alone\nnode_drain: false\n"+keys)
	s.Must("start")
	for app, want := range map[string]string{"helped": "mine yes, helped true\n", "alone": "mine yes, helped false\n"} {
		if got, err := os.ReadFile(filepath.Join(s.Home, "logs", app+"-out-0.log")); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", app, got, err)
		}
	}
}
