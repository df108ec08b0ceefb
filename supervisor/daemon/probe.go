package daemon

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervisor/supervisor"
	"supervisor/supervisor/probe"
	"supervisor/supervisor/process"
)

// newProber makes what asks the worker that spec starts whether it is ready; nil
// where nothing is to be asked.
func (p *attendant) newProber(spec process.Spec) (*probe.Prober, error) {
	s := p.order.Spec
	if s.Ready == nil {
		return nil, nil
	}
	command := process.Spec{
		Dir: spec.Dir, Env: withoutChannels(spec.Env), Stdin: -1, Stdout: -1, Stderr: -1,
		Credential: spec.Credential, Umask: spec.Umask, Nice: spec.Nice, Limits: spec.Limits,
	}
	c := probe.Config{
		Kind: string(s.Ready.Kind), Target: s.Ready.Target, Interval: s.Ready.Interval, Timeout: s.Ready.Timeout,
		Dir: spec.Dir, Env: command.Env,
		Run:  func(ctx context.Context, argv []string) error { return runCommand(ctx, command, argv) },
		Tell: func(err error) { p.w.tell(supervisor.Probed{ID: p.order.ID, Err: err}) },
	}
	if s.Reload.Force { // it counts as ready then, whatever the probe says
		c.Within = s.ListenTimeout
	}
	return probe.New(c)
}

// withoutChannels is a worker's environment for a process that has none of the
// worker's descriptors.
func withoutChannels(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return ours(name) && !strings.HasPrefix(name, "SUPERVISOR_") && name != "NODE_APP_INSTANCE"
	})
}

// runCommand runs a program to its end, which is exit code 0 or an error that reads
// as "ended with exit code 3". Nothing of its group is left when it returns; when
// ctx ends it is killed.
func runCommand(ctx context.Context, spec process.Spec, argv []string) error {
	path, err := findCommand(argv[0], spec.Dir, lookEnv(spec.Env, "PATH"))
	if err != nil {
		return err
	}
	spec.Path, spec.Argv = path, argv
	child, err := process.Start(spec)
	if err != nil {
		return fmt.Errorf("failed: %w", err)
	}
	if err := child.Go(); err != nil {
		return fmt.Errorf("failed: %w", err)
	}
	var exit process.Exit
	select {
	case exit = <-child.Exited():
		if exit.Left > 0 {
			child.Kill()
		}
	case <-ctx.Done():
		child.Kill()
		exit = <-child.Exited()
	}
	<-child.Gone()
	switch {
	case exit.Status.Success():
		return nil
	case exit.Status.Signal != 0:
		return errors.New("was " + exit.Status.String())
	}
	return errors.New("ended with " + exit.Status.String())
}

// findCommand returns the file of a command: relative to dir, or in PATH.
func findCommand(name, dir, search string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	for _, folder := range filepath.SplitList(search) {
		file := filepath.Join(folder, name)
		if filepath.IsAbs(file) && unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("failed: %w", exec.ErrNotFound)
}
