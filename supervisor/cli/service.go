package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"supervisor/supervisor/systemd"
)

// Systemd is how the command line reaches a service manager. The zero value of a field is
// the real one.
type Systemd struct {
	Euid     func() int // 0 may install services of the system
	Dir      string     // of the units
	Programs string     // where the copies are that units start
	// Run runs a program to its end and returns what it printed; the error has what it
	// said.
	Run func(program string, args ...string) (string, error)
}

// Where services of the system are.
const (
	systemUnits    = "/etc/systemd/system"
	systemPrograms = "/usr/local/libexec/supervisor" // SELinux lets no service be started from a home folder
)

// service is one unit on this machine, installed or to be.
type service struct {
	name    string // with .service
	user    bool
	path    string // of the unit
	program string // the copy that it starts
	run     func(program string, args ...string) (string, error)
}

// manager completes what Env says of the service manager.
func (s *session) manager(user bool) (Systemd, error) {
	m := s.env.Systemd
	if m.Euid == nil {
		m.Euid = os.Geteuid
	}
	if m.Run == nil {
		m.Run = run
	}
	if user {
		config := s.env.Getenv("XDG_CONFIG_HOME")
		if config == "" && s.env.Getenv("HOME") != "" {
			config = filepath.Join(s.env.Getenv("HOME"), ".config")
		}
		if !filepath.IsAbs(config) {
			return m, usage("cannot find your systemd units: neither XDG_CONFIG_HOME nor HOME is set to an absolute path")
		}
		home, err := s.home()
		m.Dir, m.Programs = filepath.Join(config, "systemd", "user"), filepath.Join(home, "bin")
		return m, err
	}
	if m.Euid() != 0 {
		return m, failed("cannot change a service of the system: you are not root (sudo, or --user for a service of your own)")
	}
	if m.Dir == "" {
		m.Dir, m.Programs = systemUnits, systemPrograms
	}
	return m, nil
}

// service is the unit of that name.
func (m Systemd) service(name string, user bool) service {
	return service{
		name: name, user: user, run: m.Run, path: filepath.Join(m.Dir, name),
		program: filepath.Join(m.Programs, strings.TrimSuffix(name, ".service")),
	}
}

// made are the units that startup has made for a file, "" for any, by name.
func (m Systemd) made(file string, user bool) (names []string) {
	paths, _ := filepath.Glob(filepath.Join(m.Dir, "*.service"))
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil && systemd.MadeFor(string(text), file) {
			names = append(names, filepath.Base(path))
		}
	}
	return names
}

// systemctl runs `systemctl ARGS`, of the user's manager for a user's service.
func (v service) systemctl(args ...string) (string, error) {
	return v.run("systemctl", v.arguments(args...)...)
}

// arguments are those for the manager of the service.
func (v service) arguments(args ...string) []string {
	if v.user {
		return append([]string{"--user"}, args...)
	}
	return args
}

// journal is what the service said last.
func (v service) journal() []string {
	const lines = "20"
	out, err := v.run("journalctl", v.arguments("--unit="+v.name, "--lines="+lines, "--output=cat", "--no-pager")...)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimRight(out, "\n"), "\n")
}

// command is what a person types to do something with the service.
func (v service) command(verb string) string {
	return strings.Join(slices.Concat([]string{"systemctl"}, v.arguments(verb, v.name)), " ")
}

// run runs a program of PATH.
func run(program string, args ...string) (string, error) {
	out, err := exec.Command(program, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if said := strings.TrimSpace(string(exit.Stderr)); said != "" {
			return string(out), errors.New(said)
		}
		return string(out), fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return string(out), err
}
