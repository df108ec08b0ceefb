package systems

import (
	"io/fs"
	"os"
	"strings"
)

// program is a system's folder without its packages.
type program struct{ fs.FS }

// only returns what is copied of a system's folder.
func only(name string) fs.FS { return program{os.DirFS(name)} }

// ReadDir leaves the packages out.
func (p program) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(p.FS, name)
	kept := entries[:0]
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "node_modules") {
			kept = append(kept, e)
		}
	}
	return kept, err
}
