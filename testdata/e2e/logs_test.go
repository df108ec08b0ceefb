package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// say makes the workers of an app print a line on each stream.
func (s *supervisor) say(app string) {
	s.t.Helper()
	s.Must("signal", "SIGUSR2", app)
}

func TestLogsFollow(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "web", "calm", "instances: 2"), behaves(t, "other", "calm"))
	s.Must("start")
	all, errs, out := s.watch("logs", "web", "-f"), s.watch("logs", "-f", "--err"), s.watch("logs", "--out", "-f", "other")
	s.say("web")
	s.say("other")
	// Who has a line of before follows from now on.
	all.until("err 1")
	errs.until("err 1")
	out.until("out 1")
	s.say("web")
	if line := all.until("out 2"); !slices.Contains([]string{"web:0 | out 2", "web:1 | out 2"}, line) {
		t.Errorf("%q", line)
	}
	for _, line := range []string{errs.until("2"), errs.until("2")} {
		if !slices.Contains([]string{"web:0 err| err 2", "web:1 err| err 2"}, line) {
			t.Errorf("--err shows %q", line)
		}
	}
	s.say("other")
	if line := out.until("2"); line != "other:0 | out 2" {
		t.Errorf("--out of another app shows %q", line)
	}
	if code := all.end(syscall.SIGINT); code != 130 {
		t.Errorf("Ctrl-C: exit %d", code)
	}
	s.Must("kill")
	if err := errs.cmd.Wait(); errs.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("the end of the daemon: %v", err)
	}
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "web", "lines 100"), behaves(t, "quiet", "calm"))
	s.Must("start")
	s.follow("web", "0000099").wait() // a pipe is on the way
	out := s.Must("logs", "-n", "2").Stdout
	if want := "web:0 | line 0000098 of a worker that has much to say\nweb:0 | line 0000099 of a worker that has much to say\n"; out != want {
		t.Errorf("%q", out)
	}
	if out := s.Must("logs", "web", "--err").Stdout; out != "" {
		t.Errorf("--err: %q", out)
	}
	if out := s.Must("logs").Stdout; strings.Count(out, "\n") != 15 {
		t.Errorf("without -n: %q", out)
	}
	s.Must("flush", "web")
	if out := s.Must("logs", "web").Stdout; out != "" {
		t.Errorf("after flush: %q", out)
	}
	s.Fails(1, []string{"nobody", "web", "quiet"}, "logs", "nobody")
}

// watcher tells which files appear in a folder.
type watcher struct {
	t    *testing.T
	file *os.File
}

func appearing(t *testing.T, folder string) watcher {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	w := watcher{t, os.NewFile(uintptr(fd), "inotify")}
	t.Cleanup(func() { w.file.Close() })
	w.file.SetReadDeadline(time.Now().Add(guard))
	if _, err := unix.InotifyAddWatch(fd, folder, unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w watcher) until(name string) {
	w.t.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			w.t.Fatalf("%s does not appear: %v", name, err)
		}
		if strings.Contains(string(buf[:n]), name+"\x00") {
			return
		}
	}
}

func TestLogsAreOpenedAgain(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "web", "calm"))
	s.Must("start")
	follow := s.watch("logs", "-f")
	s.say("web")
	follow.until("out 1")
	logs := filepath.Join(s.Home, "logs")
	file, own := filepath.Join(logs, "web-out-0.log"), filepath.Join(s.Home, "supervisor.log")
	for _, path := range []string{file, own} {
		if err := os.Rename(path, path+".old"); err != nil {
			t.Fatal(err)
		}
	}
	created, ownCreated := appearing(t, logs), appearing(t, s.Home)
	unix.Kill(s.List().Daemon.PID, unix.SIGUSR1)
	created.until("web-out-0.log")
	ownCreated.until("supervisor.log")
	s.say("web")
	follow.until("out 2")
	s.Must("kill")
	if text := s.read(file + ".old"); text != "out 1\n" {
		t.Errorf("the old file: %q", text)
	}
	if text := s.read(file); text != "out 2\nbye\n" {
		t.Errorf("the new file: %q", text)
	}
	if text := s.read(own); !strings.Contains(text, "ended") {
		t.Errorf("the daemon's own: %q", text)
	}
}

func TestRotationLosesNoLine(t *testing.T) {
	t.Parallel()
	for _, compress := range []string{"false", "true"} {
		t.Run("compress "+compress, func(t *testing.T) {
			s := newSupervisor(t)
			const lines = 100000
			s.ecosystem(behaves(t, "web", fmt.Sprint("lines ", lines), "log: {max_size: 256K, max_files: 100, compress: "+compress+"}"))
			s.Must("start")
			s.Must("kill")
			files, _ := filepath.Glob(filepath.Join(s.Home, "logs", "web-out-0.log*"))
			slices.Sort(files) // the rotated ones bear their time
			if len(files) < 10 {
				t.Fatalf("files: %v", files)
			}
			var text strings.Builder
			for _, f := range append(files[1:], files[0]) {
				text.WriteString(unpacked(t, f))
			}
			got := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
			if len(got) != lines+1 || got[lines] != "bye" {
				t.Fatalf("%d lines, the last is %q", len(got), got[len(got)-1])
			}
			for n, line := range got[:lines] {
				if line != fmt.Sprintf("line %07d of a worker that has much to say", n) {
					t.Fatalf("line %d is %q", n, line)
				}
			}
		})
	}
}

func TestFilesOfLogs(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	at := filepath.Join(s.Dir, "logs")
	s.ecosystem(
		behaves(t, "one", "lines 1", "out_file: logs/one.log\nerror_file: /dev/null"),
		behaves(t, "two", "lines 1", "instances: 2\nout_file: logs/two.log"),
		behaves(t, "merged", "lines 1", "instances: 2\nmerge_logs: true\nout_file: logs/merged.log"),
		behaves(t, "default", "lines 1", "instances: 2\nmerge_logs: true"),
	)
	s.Must("start")
	s.Must("kill")
	const line = "line 0000000 of a worker that has much to say\n"
	for path, lines := range map[string]int{
		filepath.Join(at, "one.log"): 1, filepath.Join(at, "two-0.log"): 1, filepath.Join(at, "two-1.log"): 1,
		filepath.Join(at, "merged.log"): 2, filepath.Join(s.Home, "logs", "default-out.log"): 2,
	} {
		if text := s.read(path); strings.Count(text, line) != lines {
			t.Errorf("%s: %q", path, text)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	left, _ := filepath.Glob(filepath.Join(s.Home, "logs", "one-*"))
	if entries, _ := os.ReadDir(at); len(entries) != 4 || len(left) > 0 {
		t.Errorf("files: %v, %v", entries, left)
	}
}
