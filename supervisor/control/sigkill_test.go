package control

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

// daemon is the test binary as a daemon that has the socket as descriptor 3.
type daemon struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func (h *holder) spawn() *daemon {
	h.t.Helper()
	d := &daemon{cmd: exec.Command("/proc/self/exe")}
	d.cmd.Env = append(os.Environ(), "CONTROL_TEST_DAEMON=1")
	d.cmd.ExtraFiles = []*os.File{h.file}
	out, err := d.cmd.StdoutPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	d.out = bufio.NewReader(out)
	return d
}

func (d *daemon) kill() {
	d.cmd.Process.Kill()
	d.cmd.Wait()
}

// lastLine is the number of the last line of each source that daemonMain has.
const lastLine = 20_000

// daemonMain begins a request that is new, and says so; it answers one that is
// resumed. Its logs are numbers, a pair of sources by turns.
func daemonMain() {
	ln, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		fmt.Println(err)
		return
	}
	b := &fake{do: func(_ context.Context, req state.Request) state.Result {
		if req.Resume {
			return state.Result{Messages: []string{req.ID}}
		}
		fmt.Println(req.ID)
		select {}
	}}
	b.logs = func(ctx context.Context, q LogQuery) (<-chan LogLine, error) {
		at := [2]int{}
		for _, c := range q.Cursors {
			slot, n, _ := strings.Cut(c, "=")
			i, _ := strconv.Atoi(slot)
			at[i], _ = strconv.Atoi(n)
		}
		ch := make(chan LogLine)
		go func() { // ends with ctx
			for at[0] < lastLine || at[1] < lastLine {
				i := 0
				if at[1] < at[0] {
					i = 1
				}
				at[i]++
				l := LogLine{App: "web", Slot: i, Stream: "out", Text: strconv.Itoa(at[i]), Cursor: fmt.Sprintf("%d=%d", i, at[i])}
				select {
				case ch <- l:
				case <-ctx.Done():
					return
				}
			}
		}()
		return ch, nil
	}
	Serve(ln, b)
	select {}
}

func TestSIGKILLInTheMiddleOfARequest(t *testing.T) {
	h := hold(t)
	d := h.spawn()
	type answer struct {
		res state.Result
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		res, err := Dial(h.path).Do(guarded(t), state.Request{Verb: state.VerbReload}, nil)
		answers <- answer{res, err}
	}()
	id, err := d.out.ReadString('\n')
	d.kill()
	if err != nil {
		t.Fatal(err)
	}
	d = h.spawn()
	defer d.kill()
	if a := <-answers; a.err != nil || len(a.res.Messages) != 1 || a.res.Messages[0] != strings.TrimSpace(id) {
		t.Errorf("Do = %+v, %v; want the answer to %s", a.res, a.err, id)
	}
}

func TestSIGKILLInTheMiddleOfLogs(t *testing.T) {
	h := hold(t)
	d := h.spawn()
	defer func() { d.kill() }()
	var seen [2]int
	shown := 0
	err := Dial(h.path).Logs(guarded(t), LogQuery{Follow: true}, func(l LogLine) bool {
		n, _ := strconv.Atoi(l.Text)
		if n != seen[l.Slot]+1 {
			t.Errorf("line %d of slot %d after %d", n, l.Slot, seen[l.Slot])
			return false
		}
		seen[l.Slot] = n
		if shown++; shown%4001 == 0 {
			d.kill()
			d = h.spawn()
		}
		return seen != [2]int{lastLine, lastLine}
	})
	if err != nil {
		t.Error(err)
	}
}
