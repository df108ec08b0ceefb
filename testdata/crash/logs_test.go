package crash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
	"supervisor/testdata/crash/lines"
	"supervisor/testdata/lab"
)

// Everything that can happen to a log comes while several follow it, and upon each
// nothing, an upgrade or a death. It is a soak: CRASH_ROUNDS says how many acts.
func TestLogsAtRandom(t *testing.T) {
	rounds := number(t, "CRASH_ROUNDS", 0)
	if rounds == 0 {
		t.Skip("CRASH_ROUNDS is not set")
	}
	for _, lossy := range []bool{false, true} {
		name := "each line"
		if lossy {
			name = "no line twice, nor cut"
		}
		t.Run(name, func(t *testing.T) {
			newLogChaos(t, lossy).run(rounds)
		})
	}
}

// logChaos is acts about logs.
type logChaos struct {
	*site
	random *rand.Rand
	done   []string
}

func newLogChaos(t *testing.T, lossy bool) *logChaos {
	t.Helper()
	seed := uint64(number(t, "CRASH_SEED", int(time.Now().UnixNano()%1e6)))
	t.Logf("CRASH_SEED=%d", seed)
	one, two := web(t), web(t)
	one.name, two.name = "one", "two"
	for _, a := range []*app{one, two} {
		a.rate, a.format, a.rotate = "500/20ms", anyFormat, "300K"
	}
	c := &logChaos{site: newSite(t, one, two), random: rand.New(rand.NewPCG(seed, seed))}
	c.lossy = lossy
	c.Must("start")
	c.steady()
	return c
}

// anyFormat is a line in any format that an app may have had.
func anyFormat(line []byte) ([]byte, error) {
	if bytes.HasPrefix(line, []byte("{")) {
		var object struct{ Message string }
		if err := json.Unmarshal(line, &object); err != nil {
			return nil, err
		}
		return []byte(object.Message), nil
	}
	if at := stampBefore.FindIndex(line); at != nil {
		return line[at[1]:], nil
	}
	return line, nil
}

var stampBefore = regexp.MustCompile("^" + stampForm)

// run does the acts.
func (c *logChaos) run(rounds int) {
	c.t.Helper()
	var all []*watcher
	for i, args := range [][]string{{"--json", "--out"}, {"--out", "one"}, {"--json"}, {"--json", "--out", "one"}, {"--json", "--out"}} {
		all = append(all, c.watch(i >= 3, args...))
	}
	for _, w := range all {
		w.attached()
	}
	for i := 0; i < rounds && !c.t.Failed(); i++ {
		c.round()
	}
	for _, w := range all {
		w.end(c.lossy)
	}
	if c.t.Failed() {
		c.t.Logf("acts:\n%s", strings.Join(c.done, "\n"))
	}
}

// round does one act, and what befalls the supervisor meanwhile.
func (c *logChaos) round() {
	c.t.Helper()
	a := c.apps[c.random.IntN(len(c.apps))]
	begin := time.Now()
	name, command := c.act(a)
	fate := []string{"nothing", "nothing", "an upgrade", "SIGKILL", "SIGKILL", "SIGKILL of the keeper"}[c.random.IntN(6)]
	moment := time.Duration(c.random.Int64N(int64(400 * time.Millisecond)))
	over := make(chan lab.Output, 1)
	go func() { // ends with the command
		var out lab.Output
		for _, args := range command {
			cmd := c.Command(args...)
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			hangs := time.AfterFunc(2*guard, func() { cmd.Process.Signal(unix.SIGABRT) })
			cmd.Run()
			hangs.Stop()
			out = lab.Output{Stdout: out.Stdout + said.String(), Code: cmd.ProcessState.ExitCode()}
		}
		over <- out
	}()
	<-time.After(moment) // this very time is what is tried
	switch fate {
	case "an upgrade":
		c.Run("upgrade")
	case "SIGKILL":
		c.daemon().Kill()
	case "SIGKILL of the keeper":
		c.keeper().Kill()
	}
	out := <-over
	c.done = append(c.done, fmt.Sprintf("%s %s: %s after %v: exit %d: %.200s", begin.Format("05.000"), name, fate, moment, out.Code, out.Stdout))
	if out.Code < 0 || out.Code == 2 {
		c.t.Errorf("%s", c.done[len(c.done)-1])
	}
	if left := c.other(c.daemon()); left != nil {
		left.Wait()
	}
	c.settled(func(snapshot state.Snapshot) string {
		if len(snapshot.Apps) == len(c.apps) {
			return ""
		}
		c.Run("start")
		return "an app is missing"
	})
}

// act draws one and says its commands.
func (c *logChaos) act(a *app) (string, [][]string) {
	reload := [][]string{{"reload", a.name}}
	pick := func(of ...string) string { return of[c.random.IntN(len(of))] }
	n := 10
	if c.lossy {
		n = 16
	}
	switch c.random.IntN(n) {
	case 0, 1, 2, 3:
		a.keys = pick("", stampKeys, jsonKeys, jsonKeys+"\n"+stampKeys)
		a.keys += pick("", "", "\n"+mergeKeys)
		if file := pick("", "", "a", "b"); file != "" {
			a.keys += "\nout_file: " + filepath.Join(c.Home, "logs", a.name+"-out"+file+".log")
		}
		if pick("", "", "both") != "" && strings.Contains(a.keys, "out_file") {
			a.keys += strings.Replace(a.keys[strings.Index(a.keys, "\nout_file"):], "out_file", "error_file", 1)
		}
		a.keys = strings.TrimPrefix(a.keys, "\n")
		files, size := "1000", pick("100K", "300K", "2M")
		if c.lossy {
			files, size = pick("2", "10", "1000"), pick("30K", "300K", "2M")
		}
		a.log = fmt.Sprintf("{max_size: %s, max_files: %s, compress: %s}", size, files, pick("true", "false"))
		c.ecosystem()
		return "reload with " + strings.ReplaceAll(a.keys, "\n", ", ") + " " + a.log, reload
	case 4, 5, 6:
		return "scale", [][]string{{"scale", a.name, pick("1", "2", "3", "4")}}
	case 7:
		return "stop, start", [][]string{{"stop", a.name}, {"start", a.name}}
	case 8:
		return "delete, start", [][]string{{"delete", a.name}, {"start"}}
	case 9:
		return "restart", [][]string{{"restart", a.name}}
	case 10, 15:
		c.moveAway(a)
		return "move " + a.name, nil
	case 11, 12, 13:
		return "flush " + a.name, [][]string{{"flush", a.name}}
	}
	c.copyTruncate(a)
	return "copytruncate " + a.name, nil
}

// current are the log files that are not rotated.
func (c *logChaos) current(a *app) []string {
	all, _ := filepath.Glob(filepath.Join(c.Home, "logs", a.name+"-out*.log"))
	return all
}

// moveAway does what logrotate does.
func (c *logChaos) moveAway(a *app) {
	for _, path := range c.current(a) {
		err := os.Rename(path, path+".moving")
		stamp := time.Now().UTC().Format("20060102T150405.000000000") + "-moved"
		if err == nil {
			err = os.Rename(path+".moving", path+"."+stamp)
		}
		if err != nil {
			c.t.Error(err)
		}
		if f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
			f.Close()
		}
	}
	c.daemon().Signal(unix.SIGUSR1)
}

// copyTruncate is its other way.
func (c *logChaos) copyTruncate(a *app) {
	stamp := time.Now().UTC().Format("20060102T150405.000000000") + "-copied"
	for _, path := range c.current(a) {
		text, err := os.ReadFile(path)
		if err == nil {
			text = text[:bytes.LastIndexByte(text, '\n')+1]
			err = os.WriteFile(path+"."+stamp, text, 0o600)
		}
		if err == nil {
			err = os.Truncate(path, 0)
		}
		if err != nil {
			c.t.Error(err)
		}
	}
}

// watcher is a `logs -f` in any form.
type watcher struct {
	*follower
	args []string
	slow bool
	all  atomic.Bool // those that there were have been seen
	want int         // so many
	stop chan struct{}
}

// shownLine is a line as people see it.
var shownLine = regexp.MustCompile(`^(\S+):(\d+) (err)?\| (.*)$`)

// watch starts one.
func (c *logChaos) watch(slow bool, args ...string) *watcher {
	c.t.Helper()
	w := &watcher{follower: &follower{t: c.t, app: c.apps[0], check: lines.Check{Joins: true, Other: own.Match}, heard: make(chan string, 10000), done: make(chan struct{})},
		args: args, slow: slow, stop: make(chan struct{})}
	for _, a := range c.List().Apps {
		if !slices.Contains(args, "one") || a.Name == "one" {
			w.want += len(a.Workers)
		}
	}
	w.cmd = c.Command(append([]string{"logs", "-f", "-n", "1"}, args...)...)
	w.cmd.Stderr = &w.said
	stdout, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { w.cmd.Process.Kill() })
	go w.read(stdout)
	return w
}

// read takes in what it prints.
func (w *watcher) read(stdout io.Reader) {
	defer close(w.done)
	in := bufio.NewScanner(stdout)
	in.Buffer(make([]byte, 1<<16), 1<<20)
	known, bytes := 0, 0
	for in.Scan() {
		if bytes += len(in.Bytes()); w.slow && bytes > 1<<20 {
			bytes = 0
			select {
			case <-time.After(time.Duration(rand.Int64N(int64(2 * time.Second)))): // that is how slow it is
			case <-w.stop:
			}
		}
		var line control.LogLine
		if slices.Contains(w.args, "--json") {
			if err := json.Unmarshal(in.Bytes(), &line); err != nil {
				w.t.Errorf("logs -f printed %.200q: %v", in.Text(), err)
				return
			}
		} else {
			m := shownLine.FindStringSubmatch(in.Text())
			if m == nil {
				w.t.Errorf("logs -f printed %.200q", in.Text())
				return
			}
			line.App, line.Text = m[1], m[4]
		}
		w.lost += line.Lost
		text, err := anyFormat([]byte(line.Text))
		if err != nil {
			text = []byte(line.Text)
		}
		if w.all.Load() {
			w.check.Joins = false
		}
		w.check.Line("", func() string { return "logs -f " + line.App }, text)
		if n := w.check.Workers(); n > known {
			known = n
			w.heard <- line.Text
		}
	}
}

// attached waits until each worker that there was has been seen: from then on they are
// seen from their first lines.
func (w *watcher) attached() {
	w.t.Helper()
	for range w.want {
		w.first()
	}
	w.all.Store(true)
}

// end ends it and judges: lines may only be lost where that is said to be so.
func (w *watcher) end(lossy bool) {
	w.t.Helper()
	close(w.stop)
	w.cmd.Process.Signal(syscall.SIGINT)
	<-w.done
	if w.cmd.Wait(); w.cmd.ProcessState.ExitCode() != 130 {
		w.t.Errorf("logs -f %v: %v: %s", w.args, w.cmd.ProcessState, w.said.String())
	}
	w.t.Logf("logs -f %v (slow: %v): %v, %d too fast for it %s", w.args, w.slow, &w.check, w.lost, w.said.String())
	if faults := w.check.Faults(); len(faults) > 0 && !lossy || w.lost > 0 || strings.Contains(w.said.String(), "not shown") || w.check.Doubled > 0 || w.check.Foreign > 0 {
		w.t.Errorf("logs -f %v: %v, it says that %d were too fast\n%s\n%s", w.args, &w.check, w.lost, strings.Join(faults, "\n"), w.said.String())
	}
}
