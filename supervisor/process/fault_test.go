//go:build faults

package process

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// A daemon that dies while it spawns leaves a worker that runs, or nothing.
func TestDeathInASpawn(t *testing.T) {
	for point, runs := range map[string]bool{
		"spawn.forked": false, "spawn.heard": false, "spawn.told": true, "spawn.running": true,
	} {
		t.Run(point, func(t *testing.T) {
			reapOrphans()
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			pid, err := syscall.ForkExec("/proc/self/exe", []string{workerName, "daemon", "exit", "0"}, &syscall.ProcAttr{
				Env:   append(os.Environ(), fault.Name+"="+point, fault.Token+"="+token),
				Files: []uintptr{0, w.Fd(), 2},
			})
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			var status unix.WaitStatus
			unix.Wait4(pid, &status, 0, nil)
			if status.Signal() != unix.SIGKILL {
				t.Fatalf("the daemon did not die of it: %v", status)
			}
			r.SetReadDeadline(time.Now().Add(guard))
			if _, err := io.ReadAll(r); err != nil { // until the worker has ended, or its shim
				t.Fatal(err)
			}
			if _, err := unix.Wait4(-1, &status, 0, nil); err != nil { // the orphan is ours now
				t.Fatalf("no worker, nor its shim: %v", err)
			}
			want := ShimExit
			if runs {
				want = 0
			}
			if status.ExitStatus() != want {
				t.Errorf("it exits with %d, want %d", status.ExitStatus(), want)
			}
		})
	}
}
