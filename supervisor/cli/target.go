package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

// ecosystemNames are looked for, in this order, when start has no argument.
var ecosystemNames = [...]string{"ecosystem.yaml", "ecosystem.yml", "ecosystem.json"}

// isFile reports whether an argument is an ecosystem by its ending.
func isFile(arg string) bool {
	switch filepath.Ext(arg) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// file makes the path of an ecosystem absolute; one that isn't there is a
// mistake in what was typed.
func (s *session) file(verb, arg string) (string, error) {
	path, err := s.env.abs(arg)
	if err != nil {
		return "", usage("cannot %s %s: %v", verb, arg, err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", usage("cannot %s %s: no such file", verb, arg)
	case err != nil:
		return "", usage("cannot %s %s: %v", verb, arg, err)
	case info.IsDir():
		return "", usage("cannot %s %s: it is a folder", verb, arg)
	}
	return path, nil
}

// ecosystemHere finds the current folder's ecosystem.
func (s *session) ecosystemHere(verb string) (string, error) {
	wd, err := s.env.Getwd()
	if err != nil {
		return "", usage("cannot %s: %v", verb, err)
	}
	for _, name := range ecosystemNames {
		if _, err := os.Stat(filepath.Join(wd, name)); err == nil {
			return filepath.Join(wd, name), nil
		}
	}
	return "", usage("cannot %s: no %s in %s (`supervisor init` writes one)", verb, strings.Join(ecosystemNames[:], ", "), wd)
}

// startTarget fills in what start was asked to start: an app's name, else a
// file by its ending, else a script. known are the apps of the daemon, if one
// runs.
func (s *session) startTarget(req *state.Request, arg string, known []string) error {
	switch {
	case arg == "":
		path, err := s.ecosystemHere("start")
		req.File = path
		return err
	case slices.Contains(known, arg):
		req.Names = []string{arg}
		return nil
	case isFile(arg):
		path, err := s.file("start", arg)
		req.File = path
		return err
	}
	wd, err := s.env.Getwd()
	if err != nil {
		return usage("cannot start %s: %v", arg, err)
	}
	if !s.isScript(arg, wd) {
		return failed("cannot start %s: no app has this name, and there is no such file or program", arg)
	}
	req.Script = &state.Script{Path: arg, Args: s.after, Cwd: wd}
	return nil
}

// startUnseen is startTarget for what is not there any more.
func (s *session) startUnseen(req *state.Request, arg string) {
	if arg == "" {
		arg = ecosystemNames[0]
	}
	if !isFile(arg) {
		req.Script = &state.Script{Path: arg, Args: s.after}
		return
	}
	req.File = arg
	if path, err := s.env.abs(arg); err == nil { // else the folder is gone, too
		req.File = path
	}
}

// isScript reports whether there is something of that name to run: relative to
// the current folder, or a program in PATH.
func (s *session) isScript(arg, wd string) bool {
	path := arg
	if !filepath.IsAbs(path) {
		path = filepath.Join(wd, arg)
	}
	if _, err := os.Stat(path); err == nil {
		return true
	}
	if strings.Contains(arg, "/") {
		return false
	}
	for _, dir := range filepath.SplitList(s.env.Getenv("PATH")) {
		info, err := os.Stat(filepath.Join(dir, arg))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// apps turns the arguments of a command about running apps into their names: an
// app's name, else by its ending a file, which means the apps that were started
// from it. None means all, and is returned as none.
func (s *session) apps(ctx context.Context, verb string, args []string) ([]string, error) {
	if !slices.ContainsFunc(args, isFile) {
		return args, nil // the daemon knows whether there is such an app
	}
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, arg := range args {
		if !isFile(arg) || appNamed(snap, arg) {
			names = append(names, arg)
			continue
		}
		path, err := s.env.abs(arg)
		if err != nil {
			return nil, usage("cannot %s %s: %v", verb, arg, err)
		}
		of, err := s.appsOf(ctx, path)
		if err != nil {
			return nil, err
		}
		if len(of) == 0 {
			return nil, failed("cannot %s %s: no app was started from it", verb, arg)
		}
		names = append(names, of...)
	}
	return names, nil
}

func appNamed(snap state.Snapshot, name string) bool {
	return slices.ContainsFunc(snap.Apps, func(a state.App) bool { return a.Name == name })
}

func appNames(snap state.Snapshot) []string {
	names := make([]string, len(snap.Apps))
	for i, a := range snap.Apps {
		names[i] = a.Name
	}
	return names
}

func (s *session) appsOf(ctx context.Context, file string) ([]string, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	all, err := c.Describe(ctx, "")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range all {
		if d.File == file {
			names = append(names, d.Name)
		}
	}
	return names, nil
}

// known returns the apps of the daemon; none when no daemon runs, which running
// tells.
func (s *session) known(ctx context.Context) (names []string, running bool, err error) {
	snap, err := s.snapshot(ctx)
	if errors.Is(err, control.ErrNoDaemon) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return appNames(snap), true, nil
}

// csv splits a,b.
func csv(text string) []string {
	var list []string
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}
