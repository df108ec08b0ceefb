package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"supervisor/testdata/load"
)

const playHello = "HELLO_TEST_PLAY"

func TestMain(m *testing.M) {
	if os.Getenv(playHello) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start runs the server on the socket ln and returns when it is ready.
func start(t *testing.T, ln *os.File) *exec.Cmd {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// The shell becomes the server and knows its pid.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), playHello+"=1", "LISTEN_FDS=1", "READY_FD=4")
	cmd.ExtraFiles = []*os.File{ln, w}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w.Close()
	line := make([]byte, 64)
	if n, err := r.Read(line); err != nil || n == 0 || line[n-1] != '\n' {
		t.Fatalf("the ready message is %q, %v; the server says %s", line[:n], err, &out)
	}
	return cmd
}

func TestHelloIsReplacedWithoutLoss(t *testing.T) {
	for _, keepAlive := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep-alive %v", keepAlive), func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			file, err := ln.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			old := start(t, file)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			l := load.Run(ctx, load.Config{Address: ln.Addr().String(), KeepAlive: keepAlive})
			for range 3 {
				if err := l.Wait(200); err != nil {
					t.Fatal(err)
				}
				next := start(t, file)
				if err := old.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
				if err := old.Wait(); err != nil {
					t.Error(err)
				}
				old = next
			}
			if err := l.Wait(200); err != nil {
				t.Fatal(err)
			}
			if r := l.Stop(); r.Failed != 0 {
				t.Errorf("%v", r)
			}
		})
	}
}
