package shim

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNoShimIsNone(t *testing.T) {
	if args := commandLine(); args != nil {
		t.Errorf("the command line of a test is taken for a shim's: %q", args)
	}
}

// The command line of a shim comes whole, whatever is in it: empty arguments
// and one of a kernel's greatest length (MAX_ARG_STRLEN).
func TestCommandLineComesWhole(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 128<<10-1)
	var refused strings.Builder
	cmd := exec.Command(self)
	cmd.Args = []string{Name, "", "\n", long}
	cmd.Stderr = &refused
	cmd.Run()
	if got, want := refused.String(), "cannot run as exec shim: "+errBadOrder.Error()+"\n"; got != want {
		t.Errorf("the shim says %q, want %q", got, want)
	}
	for in, want := range map[string][]string{
		"":             nil,
		"a\x00":        {"a"},
		"a\x00\x00":    {"a", ""},
		"\x00a b\x00c": {"", "a b"},
	} {
		if got := split([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("split(%q) = %q, want %q", in, got, want)
		}
	}
}

// The numbers of kernel.go are those of golang.org/x/sys/unix.
func TestKernelNumbers(t *testing.T) {
	for _, x := range []struct {
		name      string
		got, want uint64
	}{
		{"close_range", sysCloseRange, unix.SYS_CLOSE_RANGE},
		{"CLOSE_RANGE_CLOEXEC", closeRangeCloexec, unix.CLOSE_RANGE_CLOEXEC},
		{"PR_SET_NO_NEW_PRIVS", prSetNoNewPrivs, unix.PR_SET_NO_NEW_PRIVS},
		{"PR_SET_PTRACER", prSetPtracer, unix.PR_SET_PTRACER},
		{"seccomp", sysSeccomp, unix.SYS_SECCOMP},
		{"SECCOMP_SET_MODE_FILTER", seccompSetModeFilter, unix.SECCOMP_SET_MODE_FILTER},
		{"SPEC_ALLOW", seccompSpecAllow, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{"NEW_LISTENER", seccompNewListener, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER},
		{"WAIT_KILLABLE_RECV", seccompWaitKillable, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
		{"SECCOMP_RET_USER_NOTIF", seccompRetUserNotif, unix.SECCOMP_RET_USER_NOTIF},
		{"SECCOMP_RET_ALLOW", seccompRetAllow, unix.SECCOMP_RET_ALLOW},
		{"RLIMIT_NPROC", rlimitNPROC, unix.RLIMIT_NPROC},
		{"SIG_SETMASK", sigSetMask, unix.SIG_SETMASK},
		{"unlinkat", uint64(unlinkCalls[len(unlinkCalls)-1]), unix.SYS_UNLINKAT},
		{"RLIMIT_NOFILE", syscall.RLIMIT_NOFILE, unix.RLIMIT_NOFILE},
	} {
		if x.got != x.want {
			t.Errorf("%s is %#x, want %#x", x.name, x.got, x.want)
		}
	}
}
