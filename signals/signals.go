// Package signals gives signals their names and back.
//
// Invariants:
//   - an unknown name is an error, never a default (a typo in kill_signal must
//     not become SIGTERM);
//   - Parse(Name(s)) == s for every signal a kernel of Linux has (1 to 64);
//   - nothing here runs at package initialisation.
package signals

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// Real-time signals as glibc and musl show them to programs (signal(7)): the
// kernel's first, 32 and up to 33, are taken by the thread library.
const (
	realTimeMin = 34
	realTimeMax = 64
	// last is the highest signal number of Linux on amd64 and arm64 (_NSIG).
	last = 64
)

// names lists the signals of signal(7); the first entry of a number is the
// name that Name gives, later ones are aliases that Parse takes.
var names = [...]struct {
	name string
	sig  syscall.Signal
}{
	{"SIGHUP", syscall.SIGHUP},
	{"SIGINT", syscall.SIGINT},
	{"SIGQUIT", syscall.SIGQUIT},
	{"SIGILL", syscall.SIGILL},
	{"SIGTRAP", syscall.SIGTRAP},
	{"SIGABRT", syscall.SIGABRT},
	{"SIGBUS", syscall.SIGBUS},
	{"SIGFPE", syscall.SIGFPE},
	{"SIGKILL", syscall.SIGKILL},
	{"SIGUSR1", syscall.SIGUSR1},
	{"SIGSEGV", syscall.SIGSEGV},
	{"SIGUSR2", syscall.SIGUSR2},
	{"SIGPIPE", syscall.SIGPIPE},
	{"SIGALRM", syscall.SIGALRM},
	{"SIGTERM", syscall.SIGTERM},
	{"SIGSTKFLT", syscall.SIGSTKFLT},
	{"SIGCHLD", syscall.SIGCHLD},
	{"SIGCONT", syscall.SIGCONT},
	{"SIGSTOP", syscall.SIGSTOP},
	{"SIGTSTP", syscall.SIGTSTP},
	{"SIGTTIN", syscall.SIGTTIN},
	{"SIGTTOU", syscall.SIGTTOU},
	{"SIGURG", syscall.SIGURG},
	{"SIGXCPU", syscall.SIGXCPU},
	{"SIGXFSZ", syscall.SIGXFSZ},
	{"SIGVTALRM", syscall.SIGVTALRM},
	{"SIGPROF", syscall.SIGPROF},
	{"SIGWINCH", syscall.SIGWINCH},
	{"SIGIO", syscall.SIGIO},
	{"SIGPWR", syscall.SIGPWR},
	{"SIGSYS", syscall.SIGSYS},
	{"SIGRTMIN", realTimeMin},
	{"SIGRTMAX", realTimeMax},
	{"SIGIOT", syscall.SIGIOT},
	{"SIGCLD", syscall.SIGCLD},
	{"SIGPOLL", syscall.SIGPOLL},
}

// Parse reads a signal as a user writes it: SIGINT, int, INT, 2, SIGRTMIN+3
// or SIGRTMAX-1. An error names what was written, and the nearest name where
// one is near.
func Parse(s string) (syscall.Signal, error) {
	text := strings.ToUpper(strings.TrimSpace(s))
	if n, err := strconv.Atoi(text); err == nil && isDigits(text) {
		if n < 1 || n > last {
			return 0, fmt.Errorf("unknown signal %q: numbers go from 1 to %d", s, last)
		}
		return syscall.Signal(n), nil
	}
	if !strings.HasPrefix(text, "SIG") {
		text = "SIG" + text
	}
	for _, n := range names {
		if n.name == text {
			return n.sig, nil
		}
	}
	if sig, ok := parseRealTime(text); ok {
		return sig, nil
	}
	if near := nearest(text); near != "" {
		return 0, fmt.Errorf("unknown signal %q (did you mean %s?)", s, near)
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

// parseRealTime reads SIGRTMIN+n and SIGRTMAX-n.
func parseRealTime(text string) (syscall.Signal, bool) {
	base, sign := realTimeMin, 1
	rest, ok := strings.CutPrefix(text, "SIGRTMIN+")
	if !ok {
		base, sign = realTimeMax, -1
		if rest, ok = strings.CutPrefix(text, "SIGRTMAX-"); !ok {
			return 0, false
		}
	}
	n, err := strconv.Atoi(rest)
	if err != nil || !isDigits(rest) || n > realTimeMax-realTimeMin {
		return 0, false
	}
	return syscall.Signal(base + sign*n), true
}

// Name gives the name of sig in signal(7)'s spelling, the real-time ones
// counted from the nearer end as a shell's `kill -l` does. A number without a
// name, and one that is no signal, is given as the number.
func Name(sig syscall.Signal) string {
	for _, n := range names {
		if n.sig == sig {
			return n.name
		}
	}
	switch n := int(sig); {
	case n > realTimeMin && n <= (realTimeMin+realTimeMax)/2:
		return "SIGRTMIN+" + strconv.Itoa(n-realTimeMin)
	case n > realTimeMin && n < realTimeMax:
		return "SIGRTMAX-" + strconv.Itoa(realTimeMax-n)
	default:
		return strconv.Itoa(n)
	}
}

// Catchable tells whether a program can have a handler for sig, which is what
// makes it of use as a stop signal: SIGKILL and SIGSTOP can't be caught
// (signal(7)), nor can what is no signal.
func Catchable(sig syscall.Signal) bool {
	return sig >= 1 && sig <= last && sig != syscall.SIGKILL && sig != syscall.SIGSTOP
}

// isDigits keeps strconv's signs out of signal numbers: "+2" is a typo.
func isDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}

// nearest gives the name within two edits of text, or "" if none is, or no letter of
// what was written would be left of it.
func nearest(text string) string {
	const maxEdits, maxLen = 2, 16
	if len(text) > maxLen {
		return ""
	}
	best, found := min(maxEdits+1, len(text)-len("SIG")), ""
	for _, n := range names {
		if d := edits(text, n.name); d < best {
			best, found = d, n.name
		}
	}
	return found
}

// edits is the distance of two short words in insertions, deletions,
// substitutions and swaps of neighbours.
func edits(a, b string) int {
	before := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
