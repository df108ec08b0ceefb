package preload

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/testdata/load"
)

var (
	reloads = flag.Int("reloads", 2, "rolling reloads of two workers under load, in each case")
	table   = flag.Bool("table", false, "measure all cases without the preload too, and print the table")
)

// killTimeout ends what does not: Node 18 without the preload drains for as long as
// the load runs.
const killTimeout = 5 * time.Second

// clients is how many ask at the same time.
const clients = 8

// rolled is what came of rolling reloads under load.
type rolled struct {
	load.Result
	killed int // workers that did not exit 0
}

// roll keeps a load on two workers that share a socket, and replaces each: new
// first, the signal to the old when the new listens.
func roll(t *testing.T, a app, keepAlive bool) rolled {
	t.Helper()
	fd, address := sharedSocket(t)
	a.listen = fd
	workers := []*node{a.start(t).serve(), a.start(t).serve()}
	l := load.Run(t.Context(), load.Config{Address: address, Clients: clients, KeepAlive: keepAlive, Timeout: guard})
	defer l.Stop()
	flow(t, l)
	var r rolled
	for range *reloads {
		for slot, old := range workers {
			workers[slot] = a.start(t).serve()
			old.signal()
			if !old.within(killTimeout) {
				unix.Kill(old.pid, unix.SIGKILL)
			}
			if end := old.exit(); end != "exit status 0" {
				r.killed++
			}
			flow(t, l)
		}
	}
	r.Result = l.Stop()
	return r
}

// flow waits until the load has got some answers.
func flow(t *testing.T, l *load.Load) {
	t.Helper()
	if err := l.Wait(100); err != nil {
		t.Fatal(err)
	}
}

// Rolling reloads under load lose nothing with the preload, whether the program has
// a handler or not, on new connections and on busy keep-alive.
func TestRollingReload(t *testing.T) {
	need(t)
	var rows []string
	for _, kind := range []struct{ script, kind string }{
		{"server.cjs", "http"}, {"server.mjs", "esm"}, {"server.cjs", "express"}, {"server.cjs", "fastify"}, {"server.cjs", "koa"},
	} {
		for _, version := range tested() {
			for _, handler := range []string{"none", "close"} {
				t.Run(kind.kind+"/node"+version+"/"+handler, func(t *testing.T) {
					a := newApp(version, kind.script, "KIND="+kind.kind, "HANDLER="+handler)
					rows = append(rows, strings.Join(append([]string{version, kind.kind, handler}, both(t, a)...), "\t"))
				})
			}
		}
	}
	if *table {
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "Node\tapp\thandler\tnew: without\twith\tkeep-alive: without\twith")
		fmt.Fprintln(w, strings.Join(rows, "\n"))
		w.Flush()
	}
}

// both measures an app on new connections and on busy keep-alive, and returns its
// cells of the table.
func both(t *testing.T, a app) (cells []string) {
	t.Helper()
	for _, keepAlive := range []bool{false, true} {
		without := "-"
		if *table {
			bare := a
			bare.bare = true
			r := roll(t, bare, keepAlive)
			without = fmt.Sprintf("%d of %d", r.Failed, r.Requests)
			if a.env[1] == "HANDLER=close" && r.killed > 0 {
				without += fmt.Sprintf(", %d killed", r.killed)
			}
		}
		r := roll(t, a, keepAlive)
		if r.Failed > 0 || r.killed > 0 {
			t.Errorf("keep-alive %v: %d of %d lost, %d workers did not exit 0: %v", keepAlive, r.Failed, r.Requests, r.killed, r.Result)
		}
		t.Logf("keep-alive %v: %v", keepAlive, r.Result)
		cells = append(cells, without, fmt.Sprintf("%d of %d", r.Failed, r.Requests))
	}
	return cells
}

// Without the preload the same loses requests, so the test above can fail.
func TestRollingReloadCanFail(t *testing.T) {
	need(t)
	for _, version := range tested() {
		t.Run("node"+version, func(t *testing.T) {
			a := newApp(version, "server.cjs")
			a.bare = true
			for _, keepAlive := range []bool{false, true} {
				lost, asked := 0, 0
				for try := 0; lost == 0 && try < 10; try++ { // on new connections it is one or two per reload
					r := roll(t, a, keepAlive)
					lost, asked = lost+r.Failed, asked+r.Requests
				}
				if lost == 0 {
					t.Errorf("keep-alive %v: nothing lost of %d: the load shows nothing", keepAlive, asked)
				}
			}
		})
	}
}
