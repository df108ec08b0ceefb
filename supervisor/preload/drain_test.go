package preload

import (
	"strings"
	"testing"
)

// closes checks that an answer announces the end of its connection.
func closes(t *testing.T, head string) {
	t.Helper()
	if !strings.HasPrefix(head, "http/1.1 200") || !strings.Contains(head, "\r\nconnection: close\r\n") ||
		strings.Count(head, "\r\nconnection:") != 1 || strings.Contains(head, "keep-alive") {
		t.Errorf("answered %q", head)
	}
}

// A request in flight is answered; what has not begun to answer says that it closes;
// idle and untouched connections get one more request, answered so.
func TestDrain(t *testing.T) {
	for _, handler := range []string{"none", "close"} {
		t.Run(handler, func(t *testing.T) {
			each(t, func(t *testing.T, v string) {
				n := newApp(v, "server.cjs", "HANDLER="+handler).start(t).serve()
				slow, idle, untouched := n.dial(), n.dial(), n.dial()
				idle.get("/")
				if head := idle.head(); strings.Contains(head, "connection: close") {
					t.Errorf("closes before the signal: %q", head)
				}
				idle.body(len("X") * digitsOf(n.pid))
				slow.get("/?ms=2500") // longer than an idle connection is left
				n.next("slow")
				n.signal()
				if handler == "close" {
					if got := n.next("handler"); got != "1" {
						t.Errorf("the handler sees %s listeners", got)
					}
				}
				n.next("closing")
				idle.get("/stubborn")
				closes(t, idle.head())
				idle.rest()
				untouched.get("/insist")
				closes(t, untouched.head())
				untouched.rest()
				closes(t, slow.head())
				slow.rest()
				n.wantExit("exit status 0")
			})
		})
	}
}

func digitsOf(pid int) int {
	n := 0
	for ; pid > 0; pid /= 10 {
		n++
	}
	return n
}

// Connections that stay quiet are ended, and so do not hold up the drain.
func TestIdleConnectionsAreEnded(t *testing.T) {
	for _, handler := range []string{"none", "close"} {
		t.Run(handler, func(t *testing.T) {
			each(t, func(t *testing.T, v string) {
				n := newApp(v, "server.cjs", "HANDLER="+handler).start(t).serve()
				idle, untouched := n.dial(), n.dial()
				idle.get("/")
				idle.head()
				idle.body(digitsOf(n.pid))
				n.signal()
				idle.rest()
				untouched.rest()
				n.wantExit("exit status 0")
			})
		})
	}
}

// A streaming response goes on for as long as it takes.
func TestStreamIsLeft(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		n := newApp(v, "server.cjs").start(t).serve()
		c := n.dial()
		c.get("/stream?ms=2500")
		n.next("streaming")
		c.head() // its promise to keep the connection is out already
		n.signal()
		n.next("closing")
		if body := c.rest(); !strings.Contains(body, "done") {
			t.Errorf("cut: %q", body)
		}
		n.wantExit("exit status 0")
	})
}

// A TCP server's connections are ended by those who use them.
func TestRawConnectionsAreLeft(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		n := newApp(v, "server.cjs", "KIND=net").start(t).serve()
		c := n.dial()
		if got := c.body(6); got != "hello\n" {
			t.Errorf("got %q", got)
		}
		n.signal()
		c.send("more")
		if got := c.body(4); got != "more" {
			t.Errorf("got %q", got)
		}
		c.Close()
		n.wantExit("exit status 0")
	})
}

// Handlers run as written, and so do second signals.
func TestHandlersAreTheProgramsOwn(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		t.Run("exit", func(t *testing.T) {
			n := newApp(v, "server.cjs", "HANDLER=exit").start(t).serve()
			n.signal()
			n.wantExit("exit status 7")
		})
		t.Run("twice", func(t *testing.T) {
			n := newApp(v, "server.cjs", "HANDLER=twice").start(t).serve()
			n.signal()
			n.next("time 1")
			n.signal()
			n.wantExit("exit status 8")
		})
		t.Run("once", func(t *testing.T) {
			n := newApp(v, "server.cjs", "HANDLER=once").start(t).serve()
			n.signal()
			n.next("once")
			n.signal()
			n.wantExit("signal: interrupt")
		})
		t.Run("signal-exit", func(t *testing.T) { // hooks only: it drains as without
			n := newApp(v, "server.cjs", "HANDLER=signal-exit").start(t).serve()
			c := n.dial()
			c.get("/?ms=500")
			n.next("slow")
			n.signal()
			n.next("hook SIGINT")
			closes(t, c.head())
			n.wantExit("exit status 0")
		})
	})
}

// The same signal twice within moments, as npm makes it, does not cut the drain of
// a program that has no handler.
func TestRepeatedSignalIsOne(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		n := newApp(v, "server.cjs").start(t).serve()
		c := n.dial()
		c.get("/?ms=500")
		n.next("slow")
		n.signal()
		n.signal()
		closes(t, c.head())
		n.wantExit("exit status 0")
	})
}

// Libraries that end connections themselves work as they do without the preload.
func TestLibraries(t *testing.T) {
	for _, kind := range []string{"terminus", "terminator", "stoppable"} {
		t.Run(kind, func(t *testing.T) {
			each(t, func(t *testing.T, v string) {
				ends := map[bool]string{}
				for _, bare := range []bool{true, false} {
					a := newApp(v, "server.cjs", "KIND="+kind)
					a.bare = bare
					n := a.start(t).serve()
					idle, slow := n.dial(), n.dial()
					idle.get("/")
					idle.head()
					slow.get("/?ms=500")
					n.next("slow")
					n.signal()
					if kind == "terminus" {
						n.next("onSignal")
					}
					if head := slow.head(); !bare {
						closes(t, head)
					}
					ends[bare] = n.exit()
				}
				if ends[true] != ends[false] {
					t.Errorf("ended with %q, without the preload with %q", ends[false], ends[true])
				}
			})
		})
	}
}
