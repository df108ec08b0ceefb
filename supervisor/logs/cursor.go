package logs

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxCursors bounds what ParseCursors takes.
const maxCursors = 10_000

// Cursor is a place in a log: who has it has seen everything before Offset of one of its files, and of the files that
// were rotated before that.
type Cursor struct {
	Path   string // absolute, as the Set writes it
	File   FileID // 0: the oldest that is kept
	Offset int64  // in bytes; of what was written, also where that is compressed by now
}

// String is the cursor in text without spaces or commas: the path encoded, "=", file, ".", offset. So what stands
// before "=" is the same for all cursors of one file.
func (c Cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(c.Path)) + "=" +
		strconv.FormatUint(uint64(c.File), 10) + "." + strconv.FormatInt(c.Offset, 10)
}

// Cursors are places in several files, one in each.
type Cursors []Cursor

// Set puts c in the place of the cursor of the same file, if there is one.
func (cs *Cursors) Set(c Cursor) {
	if i := slices.IndexFunc(*cs, func(old Cursor) bool { return old.Path == c.Path }); i >= 0 {
		(*cs)[i] = c
		return
	}
	*cs = append(*cs, c)
}

// Of is the cursor of the file at path.
func (cs Cursors) Of(path string) (Cursor, bool) {
	for _, c := range cs {
		if c.Path == path {
			return c, true
		}
	}
	return Cursor{}, false
}

// String is what ParseCursors takes: the cursors with commas between them.
func (cs Cursors) String() string {
	texts := make([]string, len(cs))
	for i, c := range cs {
		texts[i] = c.String()
	}
	return strings.Join(texts, ",")
}

// ParseCursors parses cursors with commas between them. Of several in one file the last counts.
func ParseCursors(text string) (Cursors, error) {
	if text == "" {
		return nil, nil
	}
	if strings.Count(text, ",") >= maxCursors {
		return nil, fmt.Errorf("cannot read log cursors: more than %d", maxCursors)
	}
	var cs Cursors
	at := make(map[string]int)
	for one := range strings.SplitSeq(text, ",") {
		c, err := parseCursor(one)
		if err != nil {
			return nil, fmt.Errorf("cannot read log cursor %.100q: %w", one, err)
		}
		if i, twice := at[c.Path]; twice {
			cs[i] = c
			continue
		}
		at[c.Path] = len(cs)
		cs = append(cs, c)
	}
	return cs, nil
}

func parseCursor(text string) (Cursor, error) {
	path, place, ok := strings.Cut(text, "=")
	file, offset, dotted := strings.Cut(place, ".")
	if !ok || !dotted {
		return Cursor{}, errors.New("want PATH=FILE.OFFSET")
	}
	name, err := base64.RawURLEncoding.Strict().DecodeString(path)
	if err != nil {
		return Cursor{}, err
	}
	c := Cursor{Path: string(name)}
	if !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path || strings.ContainsRune(c.Path, 0) {
		return Cursor{}, fmt.Errorf("%.100q is no absolute path", c.Path)
	}
	id, err := strconv.ParseUint(file, 10, 64)
	if err != nil {
		return Cursor{}, err
	}
	c.File = FileID(id)
	n, err := strconv.ParseUint(offset, 10, 64)
	if err == nil && n > math.MaxInt64 {
		err = strconv.ErrRange
	}
	c.Offset = int64(n)
	return c, err
}
