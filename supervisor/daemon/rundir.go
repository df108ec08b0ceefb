package daemon

import (
	"fmt"
	"os"
	"path/filepath"
)

// runDir is the folder of what a worker must be able to read or execute: in HOME,
// which is ours alone, or, for workers of other users, one that they can enter
// (DESIGN section 6).
func (w *world) runDir(otherUser bool) (string, error) {
	dir, mode := w.home.path("run"), os.FileMode(0o700)
	if otherUser && os.Geteuid() == 0 {
		dir, mode = "/run/supervisor", 0o755
		if given := os.Getenv("RUNTIME_DIRECTORY"); filepath.IsAbs(given) {
			dir = given
		}
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return "", fmt.Errorf("cannot make %s: %w", dir, err)
	}
	return dir, nil
}
