package container

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
)

const guardMS = int(lab.Guard / 1e6)

func text(n int) string { return strconv.Itoa(n) }

func fscan(t *testing.T, from string, n *int) {
	t.Helper()
	if _, err := fmt.Sscan(from, n); err != nil {
		t.Fatalf("%q is no number", from)
	}
}

func chown(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
}

func TestTheImageServes(t *testing.T) {
	t.Parallel()
	files := t.TempDir()
	for name, from := range map[string]string{
		"supervisor": binaries(t).supervisor, "hello": binaries(t).hello, "ecosystem.yaml": "ecosystem.yaml",
	} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(files, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	i := build(t, "Dockerfile", files)
	if i.uid != 65532 {
		t.Fatalf("its user is %d", i.uid)
	}
	c := run(t, i, func(w *world) { w.Tmpfs = []string{"/dev/shm"} })
	c.await(c.err, "supervisor: supervisor ")
	t.Log(c.exec(i, "start", "/ecosystem.yaml")) // returns when it is up
	if answer := c.get(); !strings.HasPrefix(answer, "hello from pid ") {
		t.Errorf("answer: %q", answer)
	}
	said := c.exec(i, "reload")
	if !strings.Contains(said, "hello: complete, generation 1 -> 2") {
		t.Errorf("reload: %s", said)
	}
	t.Log(said)
	c.signal(syscall.SIGTERM)
	c.ends(0)
	t.Log(c.all())
}

// get asks the server of the example, in the container's network.
func (c *container) get() string {
	c.t.Helper()
	answer := make(chan string, 1)
	go func() { // ends with the answer, and its thread with it
		runtime.LockOSThread()
		answer <- func() string {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.cmd.Process.Pid))
			if err != nil {
				return err.Error()
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return err.Error()
			}
			// An address is dialled by the goroutine that asks for it.
			conn, err := net.Dial("tcp", "127.0.0.1:3000")
			if err != nil {
				return err.Error()
			}
			defer conn.Close()
			client := http.Client{Timeout: lab.Guard, Transport: &http.Transport{
				DisableKeepAlives: true,
				DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
			}}
			response, err := client.Get("http://127.0.0.1:3000/")
			if err != nil {
				return err.Error()
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			return string(body)
		}()
	}()
	return <-answer
}

func TestABarePlace(t *testing.T) {
	t.Parallel()
	c := run(t, bare(t, file(app("job", "orphan"))), nil)
	c.await(c.out, "job:0 | job is pid ")
	c.await(c.err, "job:0 | orphan is pid ")
	c.signal(syscall.SIGTERM)
	c.ends(0)
	if said := c.err.String(); strings.Contains(said, "cannot") {
		t.Errorf("stderr:\n%s", said)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    []string
		change func(*world)
		code   int
		says   []string
	}{
		{"no home", []string{}, func(w *world) { w.Tmpfs = nil }, 2, []string{"uid 12345", "set SUPERVISOR_HOME"}},
		{"a home in a read-only root, as engines set it", []string{"HOME=/"}, func(w *world) { w.Tmpfs = nil }, 1,
			[]string{"/.supervisor", "read-only", "set SUPERVISOR_HOME to a folder that can be written to"}},
		{"a home of somebody else", []string{"SUPERVISOR_HOME=/proc"}, nil, 1, []string{"SUPERVISOR_HOME"}},
		{"no /proc", nil, func(w *world) { w.NoProc = true }, 1, []string{"/proc is not mounted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			i := bare(t, file(app("job", "exit 0", once)))
			if c.env != nil {
				i.env = c.env
			}
			b := run(t, i, c.change)
			b.ends(c.code)
			for _, text := range c.says {
				if !strings.Contains(b.err.String(), text) {
					t.Errorf("it does not say %q:\n%s", text, b.all())
				}
			}
		})
	}
}

// A container's quota is in its cgroup's folder, which it has for the whole of it.
func TestInstancesMaxIsOfTheQuota(t *testing.T) {
	for _, c := range []struct {
		quota string
		most  int
	}{{"50000 100000", 1}, {"max 100000", runtime.NumCPU()}, {"100001 100000", min(2, runtime.NumCPU())}} {
		t.Run(c.quota, func(t *testing.T) {
			t.Parallel()
			i := bare(t, file(app("job", "exit 0", once, "instances: max")))
			folder := filepath.Join(i.root, "sys/fs/cgroup")
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "cpu.max"), []byte(c.quota+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			b := run(t, i, nil)
			b.ends(0)
			if n := strings.Count(b.out.String(), "is pid"); n != c.most {
				t.Errorf("%d instances, want %d:\n%s", n, c.most, b.all())
			}
		})
	}
}
