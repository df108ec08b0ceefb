package logs

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCursors(t *testing.T) {
	var cs Cursors
	cs.Set(Cursor{"/a/b=,.log", 5, 7})
	cs.Set(Cursor{"/c", 1, 0})
	cs.Set(Cursor{"/a/b=,.log", 6, 1 << 62})
	parsed, err := ParseCursors(cs.String())
	if err != nil || !slices.Equal(parsed, cs) || len(cs) != 2 {
		t.Errorf("%v, want %v: %v", parsed, cs, err)
	}
	old := Cursor{"/c", 9, 9}
	if parsed, err := ParseCursors(old.String() + "," + cs.String()); err != nil || parsed[0] != cs[1] {
		t.Errorf("of two in one file the last counts: %v %v", parsed, err)
	}
	for _, bad := range []string{"x", ",", "L2E=1", "L2E=1.-1", "L2E=1.1,", "YQ=1.1", "L2EvLi4=1.1", "L2E=1.9223372036854775808", "L2E=18446744073709551616.1", "L2E==1.1", strings.Repeat(",", maxCursors)} {
		if parsed, err := ParseCursors(bad); err == nil {
			t.Errorf("%.20q: %v", bad, parsed)
		}
	}
}

func FuzzParseCursors(f *testing.F) {
	f.Add("L2E=1.1,L2I=0.5")
	f.Add("L2E=+1.1")
	f.Fuzz(func(t *testing.T, text string) {
		cs, err := ParseCursors(text)
		if err != nil {
			return
		}
		again, err := ParseCursors(cs.String())
		if err != nil || !slices.Equal(again, cs) {
			t.Fatalf("%q: %v, then %v: %v", text, cs, again, err)
		}
		for _, c := range cs {
			if c.Offset < 0 || !filepath.IsAbs(c.Path) {
				t.Fatalf("%+v", c)
			}
		}
	})
}
