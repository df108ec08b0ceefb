package ecosystem

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxComplaints bounds how many complaints one file can draw; what is wrong
// after that is found when the first ones are repaired.
const MaxComplaints = 1000

// Complaint is one thing that is wrong with a file, or worth a warning. Line
// and Col count from 1; Line is 0 where the whole file is meant (an --env that
// no app has), Col is 0 where only the line is known.
type Complaint struct {
	File    string
	Line    int
	Col     int
	Path    string // the key in the file, as written: apps[0].kill_timeout
	Message string // what was found and what is expected
}

// String returns file:line:col: path: message, without the parts that are not known.
func (c Complaint) String() string {
	var b strings.Builder
	b.WriteString(c.File)
	if c.Line > 0 {
		fmt.Fprintf(&b, ":%d", c.Line)
		if c.Col > 0 {
			fmt.Fprintf(&b, ":%d", c.Col)
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if c.Path != "" {
		b.WriteString(c.Path + ": ")
	}
	b.WriteString(c.Message)
	return b.String()
}

// Complaints are all the complaints about one file, sorted by position.
type Complaints []Complaint

// Error returns the complaints, one per line.
func (cs Complaints) Error() string { return strings.Join(cs.Lines(), "\n") }

// Lines returns each complaint's String.
func (cs Complaints) Lines() []string {
	lines := make([]string, len(cs))
	for i, c := range cs {
		lines[i] = c.String()
	}
	return lines
}

// sort orders the complaints about main by position, and those about other
// files (an env_file) after them.
func (cs Complaints) sort(main string) {
	slices.SortStableFunc(cs, func(a, b Complaint) int {
		if a.File != b.File && (a.File == main || b.File == main) {
			if a.File == main {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
}
