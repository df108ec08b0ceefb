// Package workers is a set of small servers for tests, in several languages.
//
// None knows the supervisor. Each prints "pid N" at boot and "listening" once
// it listens, answers every request with its pid in the body and in X-Pid, and
// prints "slow" when a request /slow?ms=N has reached it. Where a server
// drains, it prints "draining" when it has stopped to accept, and loses no
// connection that it has accepted; what still waits in the accept queue is
// left to whoever else holds the socket. The address comes from PORT and
// HOST, SOCKET_PATH, or LISTEN_FDS.
//
// The package itself only finds and builds them.
package workers

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Path returns the path of a file of this folder, such as "node/ready.js".
func Path(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), filepath.FromSlash(name))
}

// BuildServer builds the Go server, static, into folder, and returns its path.
func BuildServer(folder string) (string, error) {
	out := filepath.Join(folder, "server")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Dir = Path("go/server")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the server: %w\n%s", err, text)
	}
	return out, nil
}

// Python returns the interpreter itself: python3 in PATH may be a version
// manager's script, which takes most of a second to find it.
func Python() (string, error) {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find python3: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
