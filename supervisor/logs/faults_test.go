//go:build faults

package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"supervisor/supervisor/fault"
)

// TestSIGKILLAtEachPoint has the daemon die at each named instant, several times: every line once. It needs
// go test -tags faults.
func TestSIGKILLAtEachPoint(t *testing.T) {
	rotation := []string{"rotate.renamed", "rotate.opened"}
	spooled := append([]string{"spool.moved", "spool.intent", "spool.written", "spool.done"}, rotation...)
	for mode, points := range map[string][]string{
		"raw": append([]string{"logs.moved"}, rotation...), "text": spooled, "json": spooled, "mixed": append([]string{"logs.moved"}, spooled...),
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := newCrashed(t, mode, 2, 1<<20)
			for _, point := range points {
				for i := range 8 {
					c.dieAt(point, i%2 == 0)
				}
			}
			c.check()
		})
	}
}

// dieAt has a daemon die at a point: the first time that it gets there, or after a while.
func (c *crashed) dieAt(point string, first bool) {
	c.t.Helper()
	token := filepath.Join(c.t.TempDir(), "token")
	arm := func() {
		if err := os.WriteFile(token, nil, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	if first {
		arm()
	}
	watch := watchFile(c.t, filepath.Dir(c.path))
	defer watch.Close()
	daemon := c.daemon(fault.Name+"="+point, fault.Token+"="+token)
	if !first {
		watch.wait(c.t, "")
		<-time.After(rand.N(3 * time.Millisecond))
		arm()
	}
	guard := time.AfterFunc(deadline, func() { daemon.cmd.Process.Kill() })
	daemon.cmd.Wait()
	guard.Stop()
	if _, err := os.Stat(token); !errors.Is(err, fs.ErrNotExist) {
		c.t.Fatal(fmt.Sprintf("it did not die at %s: %v", point, err))
	}
}
