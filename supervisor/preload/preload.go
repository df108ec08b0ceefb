// Package preload holds the script that helps unmodified Node programs to drain, puts
// it where workers can read it and says by which environment it is loaded.
//
//   - The script (preload.cjs) states its own promises. In short: nothing changes
//     before the stop signal, and a program must never fail because of it.
//   - NODE_OPTIONS is the user's: what is in it stays, ours is appended, and an
//     earlier release's is taken out (a supervisor that was started by a worker of
//     another one inherits it).
//   - A file once installed is never changed: its name carries its content's hash, so
//     the workers of an older daemon keep theirs, and their children find it.
package preload

import (
	_ "embed" // the script
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
)

//go:embed preload.cjs
var script string

// Variable tells the script the name of the stop signal, and whether the message
// shutdown is used. Without it the script does nothing. It must not be passed on from
// the supervisor's own environment to workers that are not to be helped.
const Variable = "SUPERVISOR_NODE_DRAIN"

// The name of an installed script: prefix, 16 hexadecimal digits, suffix.
const (
	prefix = "preload-"
	suffix = ".cjs"
	digits = 16
)

// Install writes the script into dir, unless it is there, and returns its absolute
// path. dir exists; every process that a worker starts must be able to enter it,
// whatever user it runs as, or node fails there. mode is the file's, whatever the
// umask is: 0444 where workers have users of their own.
func Install(dir string, mode os.FileMode) (path string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("cannot install the Node preload: %w", err)
	}
	path = filepath.Join(dir, name())
	if installed(path, mode) {
		return path, nil
	}
	if err := write(dir, path, mode); err != nil {
		return "", fmt.Errorf("cannot install the Node preload: %w", err)
	}
	return path, nil
}

func name() string {
	h := fnv.New64a()
	h.Write([]byte(script))
	return fmt.Sprintf("%s%0*x%s", prefix, digits, h.Sum64(), suffix)
}

// isName says whether a file's name is one that Install gives, of any release.
func isName(file string) bool {
	hash, ok := strings.CutPrefix(file, prefix)
	if !ok {
		return false
	}
	hash, ok = strings.CutSuffix(hash, suffix)
	return ok && len(hash) == digits && strings.Trim(hash, "0123456789abcdef") == ""
}

func installed(path string, mode os.FileMode) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode {
		return false // also if it is a link
	}
	text, err := os.ReadFile(path)
	return err == nil && string(text) == script
}

func write(dir, path string, mode os.FileMode) error {
	f, err := os.CreateTemp(dir, ".preload-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(script)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Env returns the variables, as NAME=value, by which a worker and its children load
// the script at path: NODE_OPTIONS with nodeOptions, the user's own, first, and
// Variable. signal is the stop signal's name with SIG; message says that the worker
// is stopped by the message shutdown instead, which leaves the signal to its children.
func Env(path, nodeOptions, signal string, message bool) []string {
	options := "--require " + quote(path)
	if own := Strip(nodeOptions); own != "" {
		options = own + " " + options
	}
	word := signal
	if message {
		word += ",shutdown"
	}
	return []string{"NODE_OPTIONS=" + options, Variable + "=" + word}
}

// Forbidden says that a node with these arguments can't load the script: the
// permission model of Node 20 refuses to read it, and the worker would not start.
func Forbidden(args []string) bool {
	for _, arg := range args {
		if arg == "--experimental-permission" || strings.HasPrefix(arg, "--experimental-permission=") {
			return true
		}
	}
	return false
}
