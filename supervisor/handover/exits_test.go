package handover

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExitReports(t *testing.T) {
	p, err := newExitPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p.w)
	defer unix.Close(p.r)
	// Far more than the pipe holds: the last are there.
	const many = 5000
	for i := range many {
		p.report(Exit{Proc{i + 2, uint64(i)}, unix.WaitStatus(i % 128)})
	}
	e := NewExits(p.r)
	for _, i := range []int{many - 1, many - 2, many - 1} {
		if status, ok := e.Reported(Proc{i + 2, uint64(i)}); !ok || int(status) != i%128 {
			t.Errorf("pid %d: %d, %v", i+2, status, ok)
		}
	}
	if _, ok := e.Reported(Proc{many + 1, 7}); ok {
		t.Error("another process of the pid")
	}
	if _, ok := e.Reported(Proc{2, 0}); ok {
		t.Error("the oldest is there still")
	}
	p.report(Exit{Proc{7, 7}, 9})
	if status, ok := e.Reported(Proc{7, 7}); !ok || status.Signal() != unix.SIGKILL {
		t.Errorf("%d, %v", status, ok)
	}
	if _, ok := NewExits(-1).Reported(Proc{7, 7}); ok {
		t.Error("reported by nobody")
	}
}

func FuzzParseExits(f *testing.F) {
	f.Add(Exit{Proc{7, 1 << 60}, 0xff7f}.line())
	f.Add([]byte("1 2 3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, e := range parseExits(text) {
			if again := parseExits(e.line()); len(again) != 1 || again[0] != e {
				t.Fatalf("%+v becomes %+v", e, again)
			}
		}
	})
}

// stat is a line of /proc/PID/stat: a zombie with a name of ill will.
func stat(start, status string) []byte {
	fields := make([]string, 50) // 3 to 52
	for i := range fields {
		fields[i] = "0"
	}
	fields[0], fields[1], fields[22-3], fields[52-3] = "Z", "1", start, status
	return []byte("7 (a ) S 1) " + strings.Join(fields, " ") + "\n")
}

func TestParseStat(t *testing.T) {
	s, ok := parseStat(stat("123", "256"))
	if !ok || s != (procStat{'Z', 1, 123, 256}) {
		t.Errorf("%+v, %v", s, ok)
	}
	for _, text := range []string{"", ")", "7 (sh) S 1", string(stat("x", "0"))} {
		if _, ok := parseStat([]byte(text)); ok {
			t.Errorf("%q is one", text)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(stat("1", "2"))
	f.Fuzz(func(t *testing.T, data []byte) { parseStat(data) })
}
