package trim

import (
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

const smapsExample = `00400000-00800000 r-xp 00000000 fd:00 131 /usr/bin/supervisor
Size:               4096 kB
Anonymous:             0 kB
AnonHugePages:         0 kB
00900000-00a00000 rw-p 00500000 fd:00 131 /usr/bin/supervisor
Anonymous:             0 kB
00a00000-00b00000 r--p 00600000 fd:00 131 /usr/bin/supervisor (deleted)
Anonymous:             0 kB
00b00000-00c00000 r--p 00700000 fd:00 131 /usr/lib/libc.so.6
Anonymous:            16 kB
c000000000-c000400000 r--p 00000000 00:00 0 
Anonymous:             0 kB
7ffd0000-7ffe0000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7ffe0000-7fff0000 r--s 00000000 fd:00 99 /some/shared
Anonymous:             0 kB
zzz-yyy r--p 00000000 fd:00 131 /usr/bin/supervisor
Anonymous:
`

func TestOnlyCleanPagesOfFilesAreDropped(t *testing.T) {
	got := cleanMappings(strings.NewReader(smapsExample))
	want := []mapping{{0x400000, 0x800000}, {0xa00000, 0xb00000}}
	if !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestTrimBreaksNothing trims this very process, which is dynamically linked where
// the tests are built with cgo, and then makes it use threads, files and children.
func TestTrimBreaksNothing(t *testing.T) {
	for range 3 {
		Now()
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if out, err := exec.Command("/bin/echo", "on").Output(); err != nil || string(out) != "on\n" {
					t.Errorf("%q, %v", out, err)
				}
			})
		}
		all.Wait()
	}
}

func FuzzCleanMappings(f *testing.F) {
	f.Add(smapsExample)
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range cleanMappings(strings.NewReader(text)) {
			if m.from >= m.to {
				t.Fatalf("an empty mapping: %x", m)
			}
		}
	})
}
