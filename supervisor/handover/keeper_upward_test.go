package handover

import (
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the daemon says of the service is for whoever runs the keeper, and nothing of it is
// taken for a word to the keeper.
func TestTheKeeperPassesOnWhatIsSaidOfTheService(t *testing.T) {
	s := newKeeperStage(t)
	path := s.path("outer.sock")
	outer, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { outer.Close() })
	outer.SetReadDeadline(time.Now().Add(guard))
	heard := func() string {
		t.Helper()
		buf := make([]byte, 4096)
		n, err := outer.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	s.keep(nil, func(c *exec.Cmd) { c.Args = slices.Insert(c.Args, 2, "--upward", path) })
	d := s.daemon()
	if got := d.do("env", UpwardVariable); got != `"1"` {
		t.Errorf("%s is %s", UpwardVariable, got)
	}
	d.ok("say", "READY=1")
	d.ok("say", "READY=1", "STATUS=up", passOn+"=1")
	if got := heard(); got != "READY=1\nSTATUS=up" {
		t.Errorf("heard %q", got)
	}
	d.ok("say", "KEEPER_REEXEC=1")
	d.ok("barrier")
	d.kill()
	d = s.daemon()
	d.ok("say", "READY=1", "X_END=7", passOn+"=1") // neither its READY nor its end
	if got := heard(); got != "READY=1\nX_END=7" {
		t.Errorf("heard %q", got)
	}
	outer.Close() // it has heard enough
	d.ok("say", "STATUS=nobody listens", passOn+"=1")
	d.ok("say", "X_END=0")
	d.exit(0)
	if code := s.ended(); code != 0 || strings.Contains(s.said(), "cannot") {
		t.Errorf("exit code %d:\n%s", code, s.said())
	}
}
