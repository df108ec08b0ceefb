package daemon

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sharedRunDir is where workers of other users find what is made for them (DESIGN
// section 6).
const sharedRunDir = "/run/supervisor"

// runDir is the folder of what a worker must be able to read or execute: in HOME,
// which is ours alone, or, for workers of other users, one that they can enter.
func (w *world) runDir(otherUser bool) (string, error) {
	if !otherUser || os.Geteuid() != 0 {
		return w.home.path("run"), nil // made with the home
	}
	dir := w.sharedRunDir()
	err := os.MkdirAll(dir, 0o755)
	for _, d := range []string{filepath.Dir(dir), dir} { // whatever our umask is
		if err == nil {
			err = os.Chmod(d, 0o755)
		}
	}
	if err != nil {
		return "", fmt.Errorf("cannot make %s: %w", dir, err)
	}
	return dir, nil
}

// sharedRunDir is this home's own folder among those of other supervisors.
func (w *world) sharedRunDir() string {
	top := sharedRunDir
	if given := os.Getenv("RUNTIME_DIRECTORY"); filepath.IsAbs(given) {
		top = given
	}
	h := fnv.New64a()
	h.Write([]byte(w.home))
	return filepath.Join(top, fmt.Sprintf("%016x", h.Sum64()))
}

// clearBuilds removes the programs that were built for an app, of every app for "",
// but those of some generations.
func (w *world) clearBuilds(app string, keep []int) {
	shared := w.sharedRunDir()
	for _, dir := range []string{w.home.path("run"), shared} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name, gen, ok := buildOf(e.Name())
			if ok && (app == "" || name == safeName(app)) && !slices.Contains(keep, gen) {
				os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
	os.Remove(shared) // if it is empty
}

// buildName is the file of a program that was built for a generation of an app.
func buildName(app string, gen int) string { return fmt.Sprintf("%s-%d", safeName(app), gen) }

// buildOf is buildName backwards: the app as safeName writes it.
func buildOf(file string) (app string, gen int, ok bool) {
	i := strings.LastIndexByte(file, '-')
	if i < 0 {
		return "", 0, false
	}
	gen, err := strconv.Atoi(file[i+1:])
	return file[:i], gen, err == nil
}
