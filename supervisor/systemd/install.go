package systemd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// InstallSelf puts a copy of the program of this process at a path, for a unit's
// ExecStart: whole or not at all, and not if it is that program already.
func InstallSelf(path string) error {
	err := installSelf(path)
	if err != nil {
		return fmt.Errorf("cannot install %s: %w", path, err)
	}
	return nil
}

func installSelf(path string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	ours, err := self.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(path); err == nil && os.SameFile(ours, there) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return WriteFile(path, self, 0o755)
}

// WriteFile replaces a file by what r has, by a temporary file that is synced and renamed.
func WriteFile(path string, r io.Reader, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone after the rename
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
