//go:build faults

package fault

import (
	"os"

	"golang.org/x/sys/unix"
)

// What a build with the tag faults reads from its environment.
const (
	// Name is the point at which it dies, by SIGKILL.
	Name = "SUPERVISOR_FAULT"
	// Token is a file that the death uses up: whoever finds it there dies, so that a
	// successor with the same environment lives.
	Token = "SUPERVISOR_FAULT_TOKEN"
)

// Point kills this process if it is the one that the environment names, and the
// token is there.
func Point(name string) {
	if os.Getenv(Name) != name || os.Remove(os.Getenv(Token)) != nil {
		return
	}
	unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // SIGKILL acts on the way back from the call at the latest, but on all threads
}
