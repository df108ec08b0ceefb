package handover

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTwentyUpgradesUnderLoad(t *testing.T) {
	s := newUpgradeStage(t)
	s.ask(order{Verb: "hold", N: 750})
	_, before := s.fine()
	stop := s.load()
	for i := range 20 {
		text := fmt.Sprint("line ", i)
		s.ask(order{Verb: "write", Name: "w7.i", Text: text})
		old, _ := s.fine()
		pid := s.took(s.upgrade(order{N: 300_000}))
		if a := s.ask(order{Verb: "read", Name: "w7.o"}); a.Text != text || a.PID != pid || a.N != (i+1)*1_000_000 || pid == old {
			t.Fatalf("after upgrade %d of %d: %+v", i, old, a)
		}
	}
	stop()
	pid, after := s.fine()
	t.Logf("%d descriptors before, %d after", before, after)
	if after > before+6 { // tableflip's own: names pipe, socket, and its copies of lock and listener
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if text := s.ask(order{Verb: "look"}).Text; text != "mine" {
		t.Errorf("%d has the token %q", pid, text)
	}
}

func TestAFailedUpgradeChangesNothing(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	usage := script("usage", "#!/bin/sh\necho 'usage: usage'\n", 0o755)
	locked := script("locked", "#!/bin/sh\n", 0o644)
	garbage := script("garbage", "\x7fnothing", 0o755)
	orphan := script("orphan", "#!/nowhere/interpreter\n", 0o755)
	sleeper := script("sleeper", "#!/bin/sh\nsleep 1000 &\nsleep 1000\n", 0o755)
	short := [3]time.Duration{guard / 4, time.Second, time.Second}
	start := [3]time.Duration{time.Second, guard, guard}

	wrong := func(act string) order { return order{Env: []string{playerNew + "=" + act}} }
	late := func(o order, limits [3]time.Duration) order { o.Limits = limits; return o }
	for _, c := range []struct {
		name string
		order
		want string
	}{
		{"exits at the start", wrong("start:exit"), "ended (exit status 7) before it said hello; is it a supervisor?; its last words: bye"},
		{"killed at the start", wrong("start:kill"), "ended (signal: killed) before it said hello"},
		{"hangs at the start", late(wrong("start:hang"), start), "did not say hello within 1s and was killed"},
		{"exits after the fds", wrong("given:exit"), "ended (exit status 7) while it adopted the workers; its last words: bye"},
		{"panics after the fds", wrong("given:panic"), "ended (exit status 2) while it adopted the workers"},
		{"killed after the fds", wrong("given:kill"), "ended (signal: killed) while it adopted the workers"},
		{"hangs after the fds", late(wrong("given:hang"), short), "did not adopt the workers within 1s and was killed"},
		{"refuses", wrong("given:refuse"), "cannot upgrade: the new supervisor refuses: I would rather not"},
		{"babbles", wrong("given:babble"), "it says hello out of turn"},
		{"garbles", wrong("given:garble"), `unknown kind "poetry"`},
		{"exits after adopted", wrong("adopted:exit"), "ended (exit status 7) before it was ready"},
		{"killed after adopted", wrong("adopted:kill"), "ended (signal: killed) before it was ready"},
		{"hangs after adopted", late(wrong("adopted:hang"), short), "was not ready within 1s and was killed"},
		{"refuses after adopted", wrong("adopted:refuse"), "the new supervisor refuses: I would rather not"},
		{"exits after final", wrong("final:exit"), "ended (exit status 7) before it was ready"},
		{"killed after final", wrong("final:kill"), "ended (signal: killed) before it was ready"},
		{"hangs after final", late(wrong("final:hang"), short), "was not ready within 1s and was killed"},
		{"refuses after final", wrong("final:refuse"), "the new supervisor refuses: I would rather not"},
		{"reads no such schema", order{Env: []string{playerSchemas + "=[3,2]"}}, "cannot upgrade: the new supervisor can't read this state: schema 1, it reads 2 and 3"},
		{"no binary", order{Binary: dir + "/missing"}, "cannot upgrade: cannot start " + dir + "/missing: no such file or directory"},
		{"not executable", order{Binary: locked}, "cannot upgrade: cannot start " + locked + ": permission denied"},
		{"a folder", order{Binary: dir}, "cannot upgrade: cannot start " + dir + ": is a directory"},
		{"no program", order{Binary: garbage}, "cannot upgrade: cannot start " + garbage + ": exec format error"},
		{"no interpreter", order{Binary: orphan}, "cannot start " + orphan + ": no such file or directory: its interpreter, or the folder in which this supervisor was started"},
		{"relative", order{Binary: "supervisor"}, "cannot start supervisor: not an absolute path"},
		{"another program", order{Binary: usage}, usage + " ended (exit status 0) before it said hello; is it a supervisor?; its last words: usage: usage"},
		{"another program that stays", late(order{Binary: sleeper}, start), sleeper + " did not say hello within 1s and was killed"},
		{"can't hold still", order{Old: "quiet:error"}, "cannot hold still: somebody moves"},
		{"holds still too late", late(order{Old: "quiet:hang"}, short), "this supervisor did not hold still within 1s"},
		{"called off before the state", order{OffWhen: "state"}, "it was called off: context canceled"},
		{"called off in the stand-still", order{OffWhen: "quiet"}, "it was called off: context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newUpgradeStage(t)
			s.ask(order{Verb: "hold", N: 3})
			s.ask(order{Verb: "write", Name: "w1.i", Text: "unread"})
			pid, _ := s.fine()
			stop := s.load()
			a := s.upgrade(c.order)
			if !strings.Contains(a.Error, c.want) || !strings.HasPrefix(a.Error, "cannot upgrade: ") {
				t.Errorf("error %q, want %q; words %q", a.Error, c.want, a.Words)
			}
			if now, _ := s.fine(); now != pid {
				t.Errorf("pid %d before, %d after", pid, now)
			}
			s.took(s.upgrade(order{}))
			stop()
			if a := s.ask(order{Verb: "read", Name: "w1.o"}); a.Text != "unread" {
				t.Errorf("the pipe has %q", a.Text)
			}
			s.fine()
		})
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	s := newUpgradeStage(t)
	s.ask(order{Verb: "hold", N: 300})
	s.took(s.upgrade(order{}))
	fail := func(times int) (fds int) {
		for range times {
			for _, wrong := range []string{"start:exit", "given:refuse", "adopted:kill", "final:exit", "given:garble"} {
				if a := s.upgrade(order{Env: []string{playerNew + "=" + wrong}}); a.Error == "" {
					t.Fatalf("%s: no error", wrong)
				}
			}
			s.upgrade(order{Binary: "/nowhere"})
		}
		_, fds = s.fine()
		return fds
	}
	once := fail(1)
	// tableflip closes what the last one leaves (two pipes) when it comes to it.
	if more := fail(10); more > once+4 {
		t.Errorf("%d descriptors after a round of failures, %d after eleven: %q", once, more, s.ask(order{Verb: "look"}).Names)
	}
}

func TestTheNewOneDiesWhenItIsReady(t *testing.T) {
	for _, act := range []string{"ready:exit", "ready:kill", "given:early"} {
		t.Run(act, func(t *testing.T) {
			s := newUpgradeStage(t)
			pid, _ := s.fine()
			// The old one notices it before it is to name it upward, or there at the latest.
			a := s.upgrade(order{Env: []string{playerNew + "=" + act}, Old: "ready:error", Limits: [3]time.Duration{guard / 4, time.Second, guard / 4}})
			if a.Error == "" {
				t.Fatal("no error")
			}
			t.Log(a.Error)
			if now, _ := s.fine(); now != pid {
				t.Errorf("pid %d before, %d after", pid, now)
			}
			a = s.upgrade(order{})
			if act != "given:early" {
				s.took(a)
			} else if !strings.Contains(a.Error, ErrUpgradeSpent.Error()) {
				t.Errorf("a second one: %q", a.Error)
			}
		})
	}
}

// The holder has heard of the new one, and so of its end too: it starts another when
// the old one has made room.
func TestTheNewOneDiesWhenItIsNamed(t *testing.T) {
	s := newUpgradeStage(t)
	s.upgrade(order{Old: "ready:slay"})
	if err := s.first.Wait(); err != nil {
		t.Errorf("the old one: %v", err)
	}
	if left := s.orphans(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestAHolderThatIsNotToldCallsOff(t *testing.T) {
	s := newUpgradeStage(t)
	pid, _ := s.fine()
	a := s.upgrade(order{Old: "ready:error"})
	if a.Error != "cannot upgrade: cannot name the new supervisor upward: nobody listens" {
		t.Error(a.Error)
	}
	if now, _ := s.fine(); now != pid {
		t.Errorf("pid %d before, %d after", pid, now)
	}
	s.took(s.upgrade(order{}))
}

// Whenever the old one dies, the new one has been told to begin, or ends.
func TestTheOldOneIsKilled(t *testing.T) {
	for _, step := range []string{"state", "held", "quiet", "ready", "mainpid"} {
		t.Run(step, func(t *testing.T) {
			s := newUpgradeStage(t)
			s.ask(order{Verb: "hold", N: 3})
			if a, err := s.call(s.order(order{Old: step + ":kill"})); err == nil && step != "mainpid" {
				t.Fatalf("it answers %+v", a)
			}
			s.first.Wait()
			left := children()
			if len(left) != 1 {
				t.Fatalf("left: %v", left)
			}
			if status := ended(t, left[0]); status.ExitStatus() != ExitRefused {
				t.Errorf("the new one ended with %v", status)
			}
		})
	}
}

func TestOneUpgradeAtATime(t *testing.T) {
	s := newUpgradeStage(t)
	first := make(chan answer, 1)
	go func() { // ends with the upgrade
		a, _ := s.call(s.order(order{Env: []string{playerNew + "=start:hang"}, Limits: [3]time.Duration{guard, guard, guard}}))
		first <- a
	}()
	begun := s.await("new")
	if a := s.upgrade(order{}); a.Error != "cannot upgrade: another upgrade is going on" {
		t.Errorf("a second one: %q", a.Error)
	}
	unix.Kill(begun, unix.SIGKILL)
	if a := <-first; !strings.Contains(a.Error, "ended (signal: killed) before it said hello") {
		t.Errorf("the first one: %q", a.Error)
	}
	s.took(s.upgrade(order{}))
}

func TestWhatChangesMeanwhileIsTold(t *testing.T) {
	s := newUpgradeStage(t)
	s.ask(order{Verb: "hold", N: 450})
	s.took(s.upgrade(order{Text: "changes"}))
	if a := s.ask(order{Verb: "read", Name: "w0.o"}); a.Error == "" {
		t.Errorf("w0.o is there")
	}
	s.ask(order{Verb: "write", Name: "w9.i", Text: "across"})
	if a := s.ask(order{Verb: "read", Name: "w2.o"}); a.Text != "across" {
		t.Errorf("w2.o: %+v", a)
	}
	s.fine()
}

// What a new process says before it is ready is told, and kept.
func TestLastWords(t *testing.T) {
	s := newUpgradeStage(t)
	a := s.upgrade(order{Env: []string{playerNew + "=adopted:panic"}})
	if len(a.Words) < 5 || len(a.Words) > maxLines {
		t.Errorf("words: %q", a.Words)
	}
	text, _ := os.ReadFile(filepath.Join(s.dir, "words"))
	if !strings.Contains(string(text), "panic: at the disco") {
		t.Errorf("output: %q", text)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"kind":"hello","version":"1","schemas":[1,2]}`), 0)
	f.Add([]byte(`{"kind":"fds","names":["w1.o"]}`), 1)
	f.Add([]byte(`{"kind":"state","schema":1}`), 3)
	f.Fuzz(func(t *testing.T, data []byte, fds int) {
		m, err := parse(data, fds)
		if err == nil && (m.Kind == "" || m.Kind == msgFDs && len(m.Names) != fds) {
			t.Fatalf("accepted %+v with %d descriptors", m, fds)
		}
	})
}

func TestLastLines(t *testing.T) {
	got := lastLines("one\n\n  \x1b[31mtwo\ttabs\r\n" + strings.Repeat("more\n", 30) + "end")
	if len(got) != maxLines || got[maxLines-1] != "end" || got[0] != "more" {
		t.Errorf("%q", got)
	}
	if got := lastLines("\x1b[1mone\ttab"); len(got) != 1 || got[0] != "[1mone tab" {
		t.Errorf("%q", got)
	}
}
