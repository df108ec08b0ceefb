package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// daemon is the process of a supervisor, looked at from outside.
type daemon struct {
	t   *testing.T
	pid int
}

// look is what /proc says of the daemon at one moment.
type look struct {
	switches    int // of all its threads, voluntary or not: each is a wake-up
	ticks       int // utime and stime
	descriptors int
	threads     int
	resident    int // kB
	peak        int // kB
}

func (l look) String() string {
	return fmt.Sprintf("%d kB resident (at most %d kB so far), %d descriptors, %d threads, %d ticks of cpu", l.resident, l.peak, l.descriptors, l.threads, l.ticks)
}

func (d daemon) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.pid, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

func (d daemon) look() (l look) {
	d.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.pid))
	if err != nil || len(tasks) == 0 {
		d.t.Fatalf("the daemon is gone (%v)", err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // a thread that has ended wakes up no more
		l.switches += field(string(text), "voluntary_ctxt_switches:") + field(string(text), "nonvoluntary_ctxt_switches:")
	}
	l.threads = len(tasks)
	status := d.read("status")
	l.resident, l.peak = field(status, "VmRSS:"), field(status, "VmHWM:")
	stat := d.read("stat")
	numbers := strings.Fields(stat[strings.LastIndex(stat, ")")+1:]) // from field 3 on
	for _, text := range numbers[11:13] {                            // 14 and 15, proc_pid_stat(5)
		n, _ := strconv.Atoi(text)
		l.ticks += n
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.pid))
	if err != nil {
		d.t.Fatal(err)
	}
	l.descriptors = len(fds)
	return l
}

// field is the number behind a name at the beginning of a line; 0 if there is none.
func field(text, name string) int {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}

// sleeps waits for a window in which the daemon did not wake up once, and returns what
// it looks like then. A daemon with any ticker of up to that period has none.
func (d daemon) sleeps(window time.Duration) look {
	d.t.Helper()
	before := d.look()
	for deadline := time.Now().Add(guard); ; {
		<-time.After(window) // what is measured is this very time
		after := d.look()
		if after.switches == before.switches && after.ticks == before.ticks {
			d.t.Logf("idle for %v: 0 wake-ups, 0 ticks of cpu; %v", window, after)
			return after
		}
		if time.Now().After(deadline) {
			d.t.Errorf("an idle daemon woke up %d times in %v", after.switches-before.switches, window)
			return after
		}
		before = after
	}
}
