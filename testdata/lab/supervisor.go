package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

// Supervisor is one test's supervisor.
type Supervisor struct {
	T      testing.TB
	Home   string   // the supervisor's
	Dir    string   // a folder for apps, where the commands run
	Env    []string // of the commands: the test's, with the home
	Binary string   // that the commands are run with
}

// New gives a test a home, and beside it an empty folder of that name for apps. Both
// go with the test. Nothing runs until the first command does; the caller sees to it
// that End is called.
func New(t testing.TB, folder string) *Supervisor {
	t.Helper()
	Consult()
	// Not t.TempDir: with a test's name in it, a socket's path is too long (unix(7)).
	root, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	s := &Supervisor{T: t, Home: filepath.Join(root, "home"), Dir: filepath.Join(root, folder), Binary: Binary}
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SUPERVISOR_") && !strings.HasPrefix(e, "PORT=") {
			s.Env = append(s.Env, e)
		}
	}
	s.Env = append(s.Env, "SUPERVISOR_HOME="+s.Home)
	return s
}

// End stops everything and checks that no process of the test is left; one that is
// fails the test and is killed.
func (s *Supervisor) End() {
	s.T.Helper()
	if out := s.Run("kill"); out.Code != 0 {
		s.T.Errorf("kill: exit %d: %s", out.Code, out.All())
	}
	for _, p := range s.Processes() {
		s.T.Errorf("left behind: %s", p)
		if pid, err := strconv.Atoi(strings.Fields(p)[0]); err == nil {
			if proc, err := os.FindProcess(pid); err == nil {
				proc.Kill()
			}
		}
	}
}

// Processes lists what runs with the test's home in its environment, each as its pid
// and its command line.
func (s *Supervisor) Processes() (found []string) {
	for _, dir := range folders() {
		env, cmd := program(dir)
		if !bytes.Contains(env, []byte("SUPERVISOR_HOME="+s.Home+"\x00")) {
			continue
		}
		found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmd), "\x00", " "))
	}
	return found
}

// Socket is the path of the supervisor's control socket.
func (s *Supervisor) Socket() string { return filepath.Join(s.Home, "supervisor.sock") }

// Log is the path of the supervisor's own log.
func (s *Supervisor) Log() string { return filepath.Join(s.Home, "supervisor.log") }

// Output is what one command came to.
type Output struct {
	Stdout, Stderr string
	Code           int // the exit code; -1 if a signal ended it
}

// All is what the command said, standard output first.
func (o Output) All() string { return o.Stdout + o.Stderr }

// Command prepares one command of the supervisor under test.
func (s *Supervisor) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.Binary, args...)
	cmd.Env, cmd.Dir = s.Env, s.Dir
	return cmd
}

// Run runs a command to its end, whatever that is. What it said on standard error is
// in the test's log.
func (s *Supervisor) Run(args ...string) Output {
	s.T.Helper()
	cmd := s.Command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.T.Fatalf("supervisor %s: %v", strings.Join(args, " "), err)
	}
	if stderr.Len() > 0 {
		s.T.Logf("supervisor %s: %s", strings.Join(args, " "), &stderr)
	}
	return Output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Must runs a command that has to succeed.
func (s *Supervisor) Must(args ...string) Output {
	s.T.Helper()
	out := s.Run(args...)
	if out.Code != 0 {
		s.T.Fatalf("supervisor %s: exit %d\n%s", strings.Join(args, " "), out.Code, out.All())
	}
	return out
}

// Fails runs a command that has to end with a code and say each of the texts.
func (s *Supervisor) Fails(code int, texts []string, args ...string) Output {
	s.T.Helper()
	out := s.Run(args...)
	if out.Code != code {
		s.T.Fatalf("supervisor %s: exit %d, want %d\n%s", strings.Join(args, " "), out.Code, code, out.All())
	}
	for _, text := range texts {
		if !strings.Contains(out.All(), text) {
			s.T.Errorf("supervisor %s does not say %q:\n%s", strings.Join(args, " "), text, out.All())
		}
	}
	return out
}

// Decode reads JSON; the test ends if it is none.
func (s *Supervisor) Decode(text string, into any) {
	s.T.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		s.T.Fatalf("no JSON: %v\n%s", err, text)
	}
}

// List is what `list --json` says.
func (s *Supervisor) List() (snapshot state.Snapshot) {
	s.T.Helper()
	s.Decode(s.Must("list", "--json").Stdout, &snapshot)
	return snapshot
}

// App is an app of the list; the test ends if there is none of that name.
func (s *Supervisor) App(name string) state.App {
	s.T.Helper()
	for _, a := range s.List().Apps {
		if a.Name == name {
			return a
		}
	}
	s.T.Fatalf("no app %s", name)
	return state.App{}
}

// Pids are those of an app's workers by slot.
func (s *Supervisor) Pids(name string) (pids []int) {
	s.T.Helper()
	for _, w := range s.App(name).Workers {
		pids = append(pids, w.PID)
	}
	return pids
}

// Receipts runs `reload --json` and returns the receipts it printed, one for each app.
func (s *Supervisor) Receipts(args ...string) ([]state.Receipt, Output) {
	s.T.Helper()
	out := s.Run(append([]string{"reload", "--json"}, args...)...)
	var result struct{ Apps []state.Receipt }
	s.Decode(out.Stdout, &result)
	return result.Apps, out
}
