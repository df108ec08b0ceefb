package listener_test

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// beside are the tests that go on beside others, by name.
var beside sync.Map

// parallel lets a test, and the parts of it that ask for it, go on beside others. It is
// for those that count nothing of this process and need nothing of it to be closed at once:
// others fork meanwhile.
func parallel(t *testing.T) {
	t.Helper()
	beside.Store(t.Name(), true)
	t.Parallel()
}

// isBeside tells if a test, or that which it is a part of, goes on beside others.
func isBeside(t testing.TB) bool {
	for name := t.Name(); ; {
		if _, ok := beside.Load(name); ok {
			return true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return false
		}
		name = name[:i]
	}
}

// leaktight fails a test that leaves a goroutine or descriptor, if it goes on alone. It
// is called before anything is begun.
func leaktight(t testing.TB) {
	t.Helper()
	if isBeside(t) {
		return // the last look is for all of them
	}
	fds, goroutines := descriptors(), runtime.NumGoroutine()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		await(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
		if n := descriptors(); n > fds {
			t.Errorf("%d descriptors before, %d after:\n%s", fds, n, listFDs())
		}
	})
}
