package cli

import (
	"path/filepath"
	"testing"
)

func TestForeground(t *testing.T) {
	w := newWorld(t)
	w.write("eco.yaml", valid)
	w.want(w.run("start", "--no-daemon", "eco.yaml", "--", "x"), 2)
	w.want(w.run("start", "--no-daemon", "eco.yaml", "-i", "2"), 8, "keeper of supervisor start --no-daemon eco.yaml -i 2\n")
	w.env["NOTIFY_SOCKET"] = "/run/notify" // somebody holds already
	w.want(w.run("start", "--no-daemon", "eco.yaml"), 7, "foreground start")
	w.init = true // a container's: who listens there holds nothing
	w.want(w.run("start", "--no-daemon", "eco.yaml"), 8, "keeper of supervisor start --no-daemon eco.yaml, which tells /run/notify\n")
}

// A service's unit is told apart what no other try can mend. The code is never that of a
// crash, nor of anything while workers may live.
func TestForegroundOfAService(t *testing.T) {
	w := newWorld(t)
	w.write("eco.yaml", valid)
	w.want(w.run("start", "--no-daemon", "gone.yaml"), 2, "cannot start gone.yaml: no such file")
	w.env["NOTIFY_SOCKET"] = "/run/notify"
	w.want(w.run("start", "--no-daemon", "gone.yaml"), 2) // another's, that speaks as systemd does
	w.env["INVOCATION_ID"] = "1"
	w.want(w.run("start", "--no-daemon", "gone.yaml"), 78, "cannot start gone.yaml: no such file")
	t.Setenv("FAKE_DAEMON", "refuses the file")
	w.want(w.run("start", "--no-daemon", "eco.yaml"), 78)
	w.leave(testBoot(), false)
	w.want(w.run("start", "--no-daemon", "eco.yaml"), 2)
	w.want(w.run("start", "--no-daemon", "eco.yaml", "-i", "x"), 2)
	w.leave(testBoot(), true)
	w.env["SUPERVISOR_KEEPER"] = "1"
	w.want(w.run("start", "--no-daemon", "gone.yaml"), 2)
}

// What ran goes on, though what it was started from is gone by now.
func TestForegroundAfterACrash(t *testing.T) {
	w := newWorld(t)
	w.env["NOTIFY_SOCKET"], w.env["INVOCATION_ID"] = "/run/notify", "1"
	w.leave(testBoot(), false)
	file := filepath.Join(w.dir, "gone.yaml")
	w.want(w.run("start", "--no-daemon", "gone.yaml"), 7, "foreground start of "+file+"\n")
	w.want(w.run("start", "--no-daemon"), 7, "foreground start of "+filepath.Join(w.dir, "ecosystem.yaml")+"\n")
	w.want(w.run("start", "--no-daemon", "./gone", "--", "x"), 7, "foreground start of ./gone\n")
	w.leave("another boot", false)
	w.want(w.run("start", "--no-daemon", "gone.yaml"), 78)
}
