package lines

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// text is the lines of a worker from one number to before another.
func text(id string, from, to uint64) string {
	var b []byte
	for n := from; n < to; n++ {
		b = Append(b, id, n)
	}
	return string(b)
}

func last(id string, n uint64) string { return string(AppendLast(nil, id, n)) }

func TestCheck(t *testing.T) {
	stamped := Stamped(`\d\d:\d\d: `)
	for name, test := range map[string]struct {
		files   []string // the last is the current one
		printed map[string]uint64
		format  Format
		want    string // of the counts
		faults  int
	}{
		"all": {files: []string{text("a", 0, 100), text("a", 100, 130) + last("a", 130)}, printed: map[string]uint64{"a": 131},
			want: "131 lines of 1 workers, 0 lost, 0 doubled, 0 foreign"},
		"two mixed": {files: []string{text("a", 0, 2) + text("b", 0, 3) + text("a", 2, 9) + text("b", 3, 4)}, printed: map[string]uint64{"a": 9, "b": 3},
			want: "13 lines of 2 workers, 0 lost, 0 doubled, 0 foreign"},
		"a hole":           {files: []string{text("a", 0, 5) + text("a", 7, 9)}, want: "7 lines of 1 workers, 2 lost, 0 doubled, 0 foreign", faults: 1},
		"the first":        {files: []string{text("a", 1, 5)}, want: "4 lines of 1 workers, 1 lost, 0 doubled, 0 foreign", faults: 1},
		"the end":          {files: []string{text("a", 0, 5)}, printed: map[string]uint64{"a": 7}, want: "5 lines of 1 workers, 2 lost, 0 doubled, 0 foreign", faults: 1},
		"every line":       {printed: map[string]uint64{"a": 7}, files: []string{""}, want: "0 lines of 0 workers, 7 lost, 0 doubled, 0 foreign", faults: 1},
		"more than there":  {files: []string{text("a", 0, 5)}, printed: map[string]uint64{"a": 3}, want: "5 lines of 1 workers, 0 lost, 0 doubled, 0 foreign", faults: 1},
		"twice":            {files: []string{text("a", 0, 5), text("a", 4, 6)}, want: "6 lines of 1 workers, 0 lost, 1 doubled, 0 foreign", faults: 1},
		"cut":              {files: []string{text("a", 0, 5) + "#a 5 xx\n"}, want: "5 lines of 1 workers, 0 lost, 0 doubled, 1 foreign", faults: 1},
		"cut in two":       {files: []string{text("a", 0, 5) + "#a 5 xx\nxxx.\n" + text("a", 6, 7)}, want: "6 lines of 1 workers, 1 lost, 0 doubled, 2 foreign", faults: 3},
		"no end":           {files: []string{text("a", 0, 5) + "#a 5 xxxxx."}, want: "5 lines of 1 workers, 0 lost, 0 doubled, 1 foreign", faults: 1},
		"after the last":   {files: []string{text("a", 0, 5) + last("a", 5) + text("a", 6, 7)}, want: "7 lines of 1 workers, 0 lost, 0 doubled, 0 foreign", faults: 1},
		"others":           {files: []string{"listening\n" + text("a", 0, 5) + "lisning\n"}, want: "5 lines of 1 workers, 0 lost, 0 doubled, 1 foreign", faults: 1},
		"stamped":          {files: []string{"10:10: #a 0 .\n10:11: #a 1 x.\n"}, format: stamped, want: "2 lines of 1 workers, 0 lost, 0 doubled, 0 foreign"},
		"one not stamped":  {files: []string{"10:10: #a 0 .\n#a 1 x.\n"}, format: stamped, want: "1 lines of 1 workers, 0 lost, 0 doubled, 1 foreign", faults: 1},
		"a stamp in place": {files: []string{"10:10: #a 0 .\n10:10: #a 1 10:11: x.\n"}, format: stamped, want: "1 lines of 1 workers, 0 lost, 0 doubled, 1 foreign", faults: 1},
		"json": {files: []string{`{"message":"#a 0 .\n","timestamp":"now","type":"out","process_id":0,"app_name":"a"}` + "\n" + `{"message":"#a 1 x."}` + "\n"},
			format: JSON, want: "1 lines of 1 workers, 0 lost, 0 doubled, 1 foreign", faults: 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir, counts := t.TempDir(), t.TempDir()
			log := filepath.Join(dir, "web-out-0.log")
			for i, text := range test.files {
				path := log
				if i < len(test.files)-1 {
					path = fmt.Sprintf("%s.%d", log, i)
				}
				os.WriteFile(path, []byte(text), 0o600)
			}
			for id, n := range test.printed {
				os.WriteFile(filepath.Join(counts, id), binary.NativeEndian.AppendUint64(nil, n), 0o600)
			}
			if test.format == nil {
				test.format = Raw
			}
			c := Check{Other: func(text []byte) bool { return string(text) == "listening" }}
			if err := c.Log(log, test.format); err != nil {
				t.Fatal(err)
			}
			if err := c.Counted(counts); err != nil {
				t.Fatal(err)
			}
			if c.String() != test.want || len(c.Faults()) != test.faults {
				t.Errorf("%v, want %s\n%s", &c, test.want, strings.Join(c.Faults(), "\n"))
			}
		})
	}
}

func TestOneWhoJoins(t *testing.T) {
	c := Check{Joins: true}
	here := func() string { return "here" }
	for n := uint64(70); n < 80; n++ {
		line := Append(nil, "a", n)
		c.Line("", here, line[:len(line)-1])
	}
	if c.Lines != 10 || len(c.Faults()) > 0 {
		t.Errorf("%v %v", &c, c.Faults())
	}
	line := Append(nil, "a", 85)
	if c.Line("", here, line[:len(line)-1]); c.Lost != 5 {
		t.Errorf("%v", &c)
	}
}
