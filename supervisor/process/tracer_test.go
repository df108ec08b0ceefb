package process

import (
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What Yama makes of it can't be seen where there is none; that the shim says it, to
// the letter and from the process that becomes the worker, a filter shows that kills
// whoever does.
func TestTracerIsNamed(t *testing.T) {
	failed := make(chan string)
	go func() { // ends with its thread, whose filter stays
		runtime.LockOSThread()
		defer close(failed)
		for _, tracer := range []int{os.Getpid(), -1} {
			if err := killPtracer(uint32(tracer)); err != nil {
				failed <- "no filter: " + err.Error()
				return
			}
			s := spec("exit", "0")
			for _, c := range []struct {
				tracer int
				killed bool
			}{{0, false}, {1 << 21, false}, {tracer, true}} {
				s.Tracer = c.tracer
				child, err := Start(s)
				if (stage(err) == StageHello) != c.killed {
					failed <- "with another outcome: " + stringOf(err)
				}
				if err == nil {
					child.Abort()
				}
			}
		}
	}()
	for text := range failed {
		t.Error(text)
	}
}

func stringOf(err error) string {
	if err == nil {
		return "started"
	}
	return err.Error()
}

// killPtracer has the kernel kill each process that this thread begets, and that says
// prctl(PR_SET_PTRACER, tracer).
func killPtracer(tracer uint32) error {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		result = unix.BPF_RET | unix.BPF_K
		number = 0 // offsets in struct seccomp_data
		first  = 16
		second = 24
	)
	program := []unix.SockFilter{
		{Code: load, K: number}, {Code: equal, K: unix.SYS_PRCTL, Jf: 5},
		{Code: load, K: first}, {Code: equal, K: unix.PR_SET_PTRACER, Jf: 3},
		{Code: load, K: second}, {Code: equal, K: tracer, Jf: 1},
		{Code: result, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: result, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
