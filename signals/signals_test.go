package signals

import (
	"strings"
	"syscall"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]syscall.Signal{
		"SIGINT":      syscall.SIGINT,
		"int":         syscall.SIGINT,
		" Int ":       syscall.SIGINT,
		"2":           syscall.SIGINT,
		"sigusr2":     syscall.SIGUSR2,
		"KILL":        syscall.SIGKILL,
		"SIGCLD":      syscall.SIGCHLD,
		"POLL":        syscall.SIGIO,
		"SIGRTMIN":    34,
		"SIGRTMIN+3":  37,
		"rtmax-1":     63,
		"RTMIN+30":    64,
		"33":          33,
		"64":          64,
		"SIGSTKFLT":   syscall.SIGSTKFLT,
		"SIGRTMAX-30": 34,
	} {
		got, err := Parse(in)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", in, int(got), err, int(want))
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"SIGTRM":                     "did you mean SIGTERM?",
		"SIGITN":                     "did you mean SIGINT?",
		"":                           `unknown signal ""`,
		"0":                          "numbers go from 1 to 64",
		"65":                         "numbers go from 1 to 64",
		"-2":                         "unknown signal",
		"+2":                         "unknown signal",
		"SIG":                        "unknown signal",
		"SIGSIGINT":                  "unknown signal",
		"SIGRTMIN+31":                "unknown signal",
		"SIGRTMIN-1":                 "unknown signal",
		"SIGRTMAX-+1":                "unknown signal",
		"graceful":                   "unknown signal",
		"99999999999999999999999999": "unknown signal",
		strings.Repeat("x", 1<<16):   "unknown signal",
	} {
		_, err := Parse(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.20q) gives the error %v, want %q in it", in, err, want)
		}
	}
}

// What has nothing of a signal's name is not taken for a slip in one.
func TestParseGuessesNothing(t *testing.T) {
	for _, in := range []string{"", "SIG", "x", "sigx", "zz"} {
		if _, err := Parse(in); err == nil || strings.Contains(err.Error(), "did you mean") {
			t.Errorf("Parse(%q) gives the error %v", in, err)
		}
	}
}

func TestNamesGoRound(t *testing.T) {
	for n := syscall.Signal(1); n <= last; n++ {
		name := Name(n)
		if got, err := Parse(name); err != nil || got != n {
			t.Errorf("Parse(Name(%d)) = Parse(%q) = %d, %v", int(n), name, int(got), err)
		}
	}
	for sig, want := range map[syscall.Signal]string{
		syscall.SIGSEGV: "SIGSEGV", 34: "SIGRTMIN", 35: "SIGRTMIN+1", 63: "SIGRTMAX-1", 32: "32", 0: "0", 99: "99",
	} {
		if got := Name(sig); got != want {
			t.Errorf("Name(%d) = %q, want %q", int(sig), got, want)
		}
	}
}

func TestCatchable(t *testing.T) {
	for sig, want := range map[syscall.Signal]bool{
		syscall.SIGINT: true, syscall.SIGTERM: true, 64: true,
		syscall.SIGKILL: false, syscall.SIGSTOP: false, 0: false, 65: false, -1: false,
	} {
		if got := Catchable(sig); got != want {
			t.Errorf("Catchable(%d) = %v, want %v", int(sig), got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"SIGINT", "int", "2", "SIGRTMIN+3", "rtmax-1", "", "SIGTRM", "-1", "sig\x00int", "ſigint", "SIGRTMIN+99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sig, err := Parse(s)
		if err != nil {
			if sig != 0 {
				t.Fatalf("Parse(%q) gives %d beside the error %v", s, int(sig), err)
			}
			return
		}
		if sig < 1 || sig > last {
			t.Fatalf("Parse(%q) = %d", s, int(sig))
		}
		if again, err := Parse(Name(sig)); err != nil || again != sig {
			t.Fatalf("Parse(%q) = %d, whose name %q gives %d, %v", s, int(sig), Name(sig), int(again), err)
		}
	})
}
