package daemon

import "testing"

func TestOnlyCleanPagesOfFilesAreDropped(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-00800000 r-xp 00000000 fd:00 131 /usr/bin/supervisor":           true,
		"00800000-00900000 r--p 00400000 fd:00 131 /usr/bin/supervisor (deleted)": true,
		"00900000-00a00000 rw-p 00500000 fd:00 131 /usr/bin/supervisor":           false,
		"c000000000-c000400000 rw-p 00000000 00:00 0":                             false,
		"7ffd0000-7ffe0000 r-xp 00000000 00:00 0 [vdso]":                          false,
		"7ffd0000-7ffe0000 r--s 00000000 fd:00 99 /some/shared":                   false,
		"zzz-yyy r--p 00000000 fd:00 131 /usr/bin/supervisor":                     false,
		"": false,
	} {
		if _, _, ok := cleanMapping(line); ok != want {
			t.Errorf("%q: %v", line, ok)
		}
	}
}
