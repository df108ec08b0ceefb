package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// What a build with the tag faults reads (package fault).
const (
	faultName  = "SUPERVISOR_FAULT"
	faultToken = "SUPERVISOR_FAULT_TOKEN"
)

// points finds every named instant in the source: the literals of fault.Point("...").
func points(t *testing.T) (names []string) {
	t.Helper()
	root := filepath.Join(source(), "supervisor")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			called, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || called.Sel.Name != "Point" {
				return true
			}
			if of, ok := called.X.(*ast.Ident); !ok || of.Name != "fault" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: the name of a point is no literal", path)
				return true
			}
			name, _ := strconv.Unquote(literal.Value)
			if slices.Contains(names, name) {
				t.Errorf("%s: %s is the name of another point, too", path, name)
			}
			names = append(names, name)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// The supervisor is killed at each named instant, one by one, by itself: a token lets
// the first who comes to the point die there, and everything be as if it had not. A
// point that nobody comes to fails the test.
func TestSIGKILLAtEachNamedPoint(t *testing.T) {
	binary := built(t, buildFaults)
	for _, name := range points(t) {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "heir.") {
				t.Skip("under systemd only: package handover's tests go there")
			}
			t.Parallel()
			s := newPointed(t, binary, name)
			s.walk()
		})
	}
}

// pointed is a site whose supervisor dies at a point as soon as the token is there.
type pointed struct {
	*site
	point, token string
	now          view
}

func newPointed(t *testing.T, binary, point string) *pointed {
	t.Helper()
	even := stamped(t)
	even.keys += "\nbalance: even"
	worker := job(t)
	if point == "signal.killed" { // which who ends when he is told never sees
		worker.mode, worker.keys = "ignore-int", "kill_timeout: 200ms"
	}
	s := newSite(t, web(t), even, worker, node(t))
	s.Binary = binary
	for _, a := range s.apps {
		a.rotate = "256K"
		a.rate = strings.Replace(a.rate, "000/80ms", "00/20ms", 1)
	}
	s.ecosystem()
	p := &pointed{site: s, point: point, token: filepath.Join(s.Dir, "token")}
	s.Env = append(s.Env, faultName+"="+point, faultToken+"="+p.token)
	return p
}

// used reports whether somebody has died.
func (p *pointed) used() bool {
	_, err := os.Lstat(p.token)
	return err != nil
}

// walk does everything that a supervisor can do until somebody has died of it, and
// then checks that it can do it still.
func (p *pointed) walk() {
	p.t.Helper()
	p.Must("start")
	p.now = p.steady()
	p.lay()
	lab.Under(p.t, func([]*load.Load) {
		for _, way := range p.ways() {
			if p.t.Failed() {
				return
			}
			begun := time.Now()
			way.do()
			if p.used() {
				p.t.Logf("died of: %s (%v)", way.name, time.Since(begun).Round(time.Millisecond))
				p.now = p.perform(reload(p.app("web")), p.steady())
				return
			}
		}
	}, p.loads(p.app("web"), p.app("stamped"), p.app("node"))...)
	if !p.used() && !p.t.Failed() {
		p.cold()
	}
	if !p.used() {
		p.t.Errorf("nobody came to the point %s", p.point)
	}
}

// lay puts the token there.
func (p *pointed) lay() {
	p.t.Helper()
	if err := os.WriteFile(p.token, nil, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// way is something that leads past points.
type way struct {
	name string
	do   func()
}

// ways are all of them, those first that the point's name speaks of.
func (p *pointed) ways() []way {
	web, job, node, stamped := p.app("web"), p.app("job"), p.app("node"), p.app("stamped")
	does := func(name string, a func() act) way {
		return way{name, func() { p.now = p.begin(a(), p.now).end(true) }}
	}
	all := []way{
		does("reload", func() act { return reload(web) }),
		does("crash", func() act { return p.crash(job, 1, p.now) }),
		does("scale", func() act { return scale(web, 3) }),
		does("stop", func() act { return toggle(job) }),
		does("start", func() act { return toggle(job) }),
		does("death", func() act { return plain("SIGKILL of the daemon", func() { p.daemon().Kill() }) }),
		does("node", func() act { return reload(node) }),
		does("formatted", func() act { return reload(stamped) }),
		does("restart", func() act { return restart(job) }),
		does("shrink", func() act { return scale(web, 1) }),
		does("bad", func() act { return p.bad(web, "crash") }),
		does("upgrade", func() act { return plain("upgrade", nil, "upgrade") }),
		does("keeper", func() act { return plain("SIGKILL of the keeper", func() { p.keeper().Kill() }) }),
	}
	part, _, _ := strings.Cut(p.point, ".")
	first := map[string]string{
		"upgrade": "upgrade", "successor": "upgrade", "exit": "crash", "gone": "crash", "stop": "restart", "signal": "restart", "spool": "formatted",
	}[part]
	slices.SortStableFunc(all, func(a, b way) int { return before(b.name == first, a.name == first) })
	return all
}

// before orders what is not first behind what is.
func before(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// cold is the way past the points of an end and of a begin.
func (p *pointed) cold() {
	p.t.Helper()
	p.Must("kill")
	if p.used() {
		p.t.Log("died of: kill")
	}
	p.Must("start")
	p.now = p.steady()
	if p.used() {
		p.t.Log("died of: kill or start")
	}
}
