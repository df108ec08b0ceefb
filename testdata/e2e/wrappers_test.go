package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/supervisor/state"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// Behind npm or a shell the main process swallows the signal or dies of it first; the
// server behind it has to drain all the same, and nothing of the group may be left.
func TestReloadBehindAWrapper(t *testing.T) {
	t.Parallel()
	ready := workers.Path("node/ready.js")
	for _, c := range []struct{ name, tool, keys string }{
		{"npm start", "npm", "script: npm\nargs: start\ncwd: app"},
		{"sh", "node", fmt.Sprintf("script: %s\nargs: [node, %s]", workers.Path("sh/wrapper.sh"), ready)},
		{"sh -c", "node", fmt.Sprintf("script: sh\nargs: [-c, 'node \"$0\"; exit $?', %s]", ready)},
		{"sh and npm", "npm", "script: sh\nargs: [-c, 'npm start; exit $?']\ncwd: app"},
		{"whole tree", "node", fmt.Sprintf("script: %s\nargs: [node, %s]\ntreekill: true", workers.Path("sh/wrapper.sh"), ready)},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.tool)
			s := newSupervisor(t)
			port := freePort(t)
			s.npmApp(`"prestart": "true", "start": "node server.js"`)
			// npm keeps the Node channel from its script, so listening stands for ready.
			// On the first start min_uptime does, and npm may take longer to begin.
			s.ecosystem(fmt.Sprintf("name: web\ninstances: 2\nsoak: 0\nmin_uptime: 50s\nlisten_timeout: 60s\nkill_timeout: 60s\nenv: {PORT: %d, npm_config_update_notifier: 'false'}\n%s", port, c.keys))
			s.Must("start", "ecosystem.yaml")
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
			s.Must("stop", "web")
			if left := alive(last); len(last) < 4 || len(left) > 0 {
				t.Errorf("left of the groups %v after stop: %v", last, left)
			}
			contains(t, s.read(filepath.Join(s.Home, "logs", "web-out-0.log")), "draining")
		})
	}
}

// npmApp makes a package in the folder app, with scripts that run a server.
func (s *supervisor) npmApp(scripts string) {
	s.t.Helper()
	s.copy("app/server.js", workers.Path("node/ready.js"))
	s.write("app/package.json", `{"name": "shop", "version": "1.2.3", "scripts": {`+scripts+`}}`)
}

// A plain command is run without its wrapper: the server itself has the ready channel,
// gets the signal, and its exit status is the worker's.
func TestReloadWithoutTheWrapper(t *testing.T) {
	t.Parallel()
	need(t, "npm")
	for _, c := range []struct{ name, keys, command string }{
		{"npm start", "script: npm\nargs: start\ncwd: app", "node server.js"},
		{"npm run of npm run", "script: npm\nargs: run serve\ncwd: app", "node --no-warnings server.js a b"},
		{"sh -c", "script: sh\nargs: [-c, 'NODE_ENV=production exec node app/server.js']", "node app/server.js"},
		{"sh -c npm start", "script: sh\nargs: [-c, npm start]\ncwd: app", "node server.js"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSupervisor(t)
			port := freePort(t)
			s.npmApp(`"start": "node server.js", "serve": "npm run real -- b", "real": "node --no-warnings 'server.js' a"`)
			s.ecosystem(fmt.Sprintf("name: web\ninstances: 2\nwait_ready: true\nlisten_timeout: 60s\nkill_timeout: 60s\nenv: {PORT: %d}\n%s", port, c.keys))
			s.Must("start", "ecosystem.yaml")
			var described struct{ Apps []state.Describe }
			s.Decode(s.Must("describe", "--json", "web").Stdout, &described)
			if got := strings.Join(described.Apps[0].Command, " "); got != c.command || described.Apps[0].Instead == "" {
				t.Errorf("describe says %q instead of %q", got, described.Apps[0].Instead)
			}
			under(t, on(port), func(*load.Load) {
				for range 3 {
					if groups := s.groups("web"); len(groups) != 2 {
						t.Errorf("two servers are %v", groups)
					}
					for _, w := range s.complete("web").Workers {
						if w.ReadyBy != "node ipc" || w.Killed || w.ExitCode == nil || *w.ExitCode != 0 {
							t.Errorf("slot %d: %+v", w.Slot, w)
						}
					}
				}
			})
		})
	}
}

// A release whose package.json has another command runs that, and a bad one goes back.
func TestAReloadReadsPackageJSON(t *testing.T) {
	t.Parallel()
	need(t, "npm")
	s := newSupervisor(t)
	port := freePort(t)
	s.npmApp(`"start": "node server.js one"`)
	s.ecosystem(fmt.Sprintf("name: web\nscript: npm\nargs: start\ncwd: app\nwait_ready: true\nlisten_timeout: 60s\nenv: {PORT: %d}", port))
	s.Must("start")
	under(t, on(port), func(*load.Load) {
		s.npmApp(`"start": "node server.js two"`)
		s.complete("web")
		contains(t, s.Must("describe", "web").Stdout, "node server.js two")
		s.npmApp(`"start": "node missing.js"`)
		receipt, code := s.reload("web")
		if code != 1 || receipt.Result != state.RolledBack {
			t.Errorf("exit %d, %+v", code, receipt)
		}
		contains(t, s.Must("describe", "web").Stdout, "node server.js two")
	})
}

// npm's own node takes the channel; who waits for its message is told so.
func TestAWrapperThatTakesTheReadyChannelIsNamed(t *testing.T) {
	t.Parallel()
	need(t, "npm")
	s := newSupervisor(t)
	s.npmApp(`"prestart": "true", "start": "node server.js"`)
	s.ecosystem(fmt.Sprintf("name: web\nscript: npm\nargs: start\ncwd: app\nwait_ready: true\nautorestart: false\nlisten_timeout: 15s\nenv: {PORT: %d}", freePort(t)))
	s.Fails(1, []string{"it has not said ready within 15s", "it runs through npm start, which may have taken its ready channel", "script: server.js"}, "start")
}

// groups lists the processes of all groups of an app.
func (s *supervisor) groups(name string) (pids []int) {
	s.t.Helper()
	for _, leader := range s.Pids(name) {
		pids = append(pids, s.group(leader)...)
	}
	return pids
}
