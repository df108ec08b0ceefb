package lab

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// executes is argv[0] of a test binary that executes itself as often as the next argument
// says, and then waits for the end of its input.
const executes = "executes"

func init() {
	if os.Args[0] != executes {
		return
	}
	n, _ := strconv.Atoi(os.Args[1])
	if n > 0 {
		syscall.Exec("/proc/self/exe", []string{executes, strconv.Itoa(n - 1)}, os.Environ())
	}
	os.Stdout.Write([]byte{1})
	os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

// A process that executes another program at the moment of the look is seen.
func TestWhoExecutesIsSeen(t *testing.T) {
	s := &Supervisor{T: t, Home: t.TempDir()}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{executes, "100"}
	cmd.Env = append(os.Environ(), "SUPERVISOR_HOME="+s.Home)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { // ends with the last program's begin
		_, err := out.Read(make([]byte, 1))
		done <- err
	}()
	for looks, last := 1, false; !last; looks++ {
		select {
		case err := <-done:
			if last = true; err != nil {
				t.Error(err)
			}
			t.Logf("%d looks", looks)
		default:
		}
		found := s.Scan()
		if len(found) == 0 { // a hundred programs in a row: the next one may have begun
			found = s.Scan()
		}
		if len(found) != 1 || found[0].PID != cmd.Process.Pid || found[0].Args[0] != executes {
			t.Fatalf("look %d: %v", looks, found)
		}
		listed := s.Processes()
		if len(listed) == 0 {
			listed = s.Processes()
		}
		if len(listed) != 1 {
			t.Fatalf("look %d: %q", looks, listed)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
