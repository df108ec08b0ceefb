package ecosystem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxPackage bounds a package.json, in bytes.
const maxPackage = 4 << 20

// packageJSON is what concerns us of it (docs.npmjs.com, package.json).
type packageJSON struct {
	Name    string         `json:"name"`
	Version string         `json:"version"`
	Scripts map[string]any `json:"scripts"`
	Config  map[string]any `json:"config"`
}

// script returns the line that a package manager would give to a shell for one of
// the scripts of cwd's package.json, and sets what it would set (npm help scripts).
// False: only the manager itself knows.
func (u *unwrapping) script(manager, name string) (line string, ok bool) {
	text, ok := u.read("package.json")
	if !ok {
		return "", false
	}
	var pkg packageJSON
	if json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &pkg) != nil {
		return "", false
	}
	line, ok = pkg.Scripts[name].(string)
	if !ok && name == "start" && manager != "yarn" && pkg.Scripts[name] == nil {
		info, err := stat(u.disk, path.Join(u.cwd, "server.js")) // npm help start
		line, ok = "node server.js", err == nil && info.Mode().IsRegular()
	}
	if !ok || pkg.Scripts["pre"+name] != nil || pkg.Scripts["post"+name] != nil || u.special(manager) {
		return "", false
	}
	u.search = strings.Join(append(binaries(u.cwd), u.search), ":")
	set := func(name, value string) {
		if value != "" {
			u.env[name] = value
		}
	}
	u.env["PATH"] = u.search
	set("npm_lifecycle_event", name)
	set("npm_lifecycle_script", line)
	set("npm_package_json", path.Join(u.cwd, "package.json"))
	set("npm_package_name", pkg.Name)
	set("npm_package_version", pkg.Version)
	for key, value := range pkg.Config {
		switch value.(type) {
		case string, float64, bool:
			set("npm_package_config_"+key, fmt.Sprint(value))
		}
	}
	return line, true
}

// special tells whether the folder is set up so that a script is not simply run by
// a shell with node_modules/.bin in PATH.
func (u *unwrapping) special(manager string) bool {
	if text, ok := u.read(".npmrc"); ok {
		for _, option := range []string{"script-shell", "shell-emulator", "node-options", "ignore-scripts"} {
			if strings.Contains(string(text), option) {
				return true
			}
		}
	}
	if manager != "yarn" {
		return false
	}
	for folder := u.cwd; ; folder = path.Dir(folder) { // Plug'n'Play: there is no node_modules
		for _, name := range []string{".pnp.cjs", ".pnp.js"} {
			if _, err := stat(u.disk, path.Join(folder, name)); err == nil {
				return true
			}
		}
		if folder == "/" || folder == "." {
			return false
		}
	}
}

// binaries are the folders of installed programs, of the package and those above it.
func binaries(folder string) (folders []string) {
	for {
		if path.Base(folder) != "node_modules" {
			folders = append(folders, path.Join(folder, "node_modules/.bin"))
		}
		if folder == "/" || folder == "." {
			return folders
		}
		folder = path.Dir(folder)
	}
}

// read returns a regular file of cwd.
func (u *unwrapping) read(name string) ([]byte, bool) {
	file := path.Join(u.cwd, name)
	info, err := stat(u.disk, file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxPackage {
		return nil, false
	}
	f, err := u.disk.Open(rooted(file))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPackage))
	return text, err == nil
}
