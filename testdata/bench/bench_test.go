package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The results on file, from which the README and the picture are.
const onFile = "."

// TestREADME holds the README's part and the picture against the results on file: no
// figure in them was typed by anyone.
func TestREADME(t *testing.T) {
	r, err := read(onFile)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, part, _, err := cutReadme(string(data))
	if err != nil {
		t.Fatal(err)
	}
	if part != readmePart(r) {
		t.Error("the README's benchmark is not what results.json says: go run ./testdata/bench -readme")
	}
	picture, err := os.ReadFile(resultsSVG)
	if err != nil {
		t.Fatal(err)
	}
	if string(picture) != svg(r) {
		t.Error("results.svg is not what results.json says: go run ./testdata/bench -readme")
	}
}

// TestResultsAreOfTheRows holds what is on file against the source: the goals are
// still the same, and nothing is of a row that is no more.
func TestResultsAreOfTheRows(t *testing.T) {
	r, err := read(onFile)
	if err != nil {
		t.Fatal(err)
	}
	now := make(map[string]row)
	for _, w := range rows() {
		now[w.name] = w
	}
	for _, got := range r.Rows {
		w, ok := now[got.Name]
		if !ok {
			t.Errorf("%s is no row", got.Name)
			continue
		}
		if len(got.Goals) != len(w.goals) {
			t.Errorf("%s has %d goals on file, and %d now: measure it again", got.Name, len(got.Goals), len(w.goals))
			continue
		}
		for i, g := range w.goals {
			if again := g.judge(w, got); again.text(got) != got.Goals[i].text(got) || again.mark(got) != got.Goals[i].mark(got) {
				t.Errorf("%s: on file %s %s, now %s %s: measure it again", got.Name,
					got.Goals[i].text(got), got.Goals[i].mark(got), again.text(got), again.mark(got))
			}
		}
	}
}

// TestQuick runs the cheap rows once, whatever they yield: that the command works, and
// what it writes can be read.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts daemons")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir) // where the stages are
	o, err := parse([]string{"-quick", "-out", dir})
	if err != nil {
		t.Fatal(err)
	}
	o.log = testLog{t}
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	r, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	wanted := 0
	for _, w := range rows() {
		if w.quick {
			wanted++
		}
	}
	if len(r.Rows) != wanted {
		t.Errorf("%d rows, want %d", len(r.Rows), wanted)
	}
	for _, got := range r.Rows {
		for _, m := range got.Metrics {
			if len(m.Sides) == 0 || m.Sides[0].Value == nil || len(m.Sides[0].Samples) != 1 || *m.Sides[0].Value < 0 {
				t.Errorf("%s, %s: %+v", got.Name, m.Name, m.Sides)
			}
		}
	}
	picture, err := os.ReadFile(filepath.Join(dir, resultsSVG))
	if err != nil {
		t.Fatal(err)
	}
	if err := wellFormed(string(picture)); err != nil {
		t.Errorf("%s: %v", resultsSVG, err)
	}
	noneLeft(t, dir)
}

// noneLeft looks for processes that a stage of this test has started.
func noneLeft(t *testing.T, dir string) {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(env), mark+dir) {
			t.Errorf("left behind: %s", filepath.Dir(file))
		}
	}
}

// testLog says what goes on to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

func wellFormed(text string) error {
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// two rows' worth of a result, with all that a cell can be.
func example(t *testing.T) (row, rowResult) {
	t.Helper()
	w := row{
		name: "reload", title: "reload of <2> workers",
		metrics: []metric{{name: "wall", title: "wall", unit: "ms", picture: true}},
		sides:   []side{{name: "supervisor"}, {name: "pm2"}, {name: "other"}},
	}
	m := measuring{row: w, missing: map[string]string{"other": "it is not installed"}, samples: map[string][]figures{
		// The machine was slow in the second round, for both.
		"supervisor": {{"wall": 100}, {"wall": 900}, {"wall": 120}},
		"pm2":        {{"wall": 400}, {"wall": 3000}, {"wall": 400}},
	}}
	return w, m.result(3)
}

func TestGoals(t *testing.T) {
	w, r := example(t)
	for _, c := range []struct {
		goal          goal
		text, verdict string
	}{
		{goal{side: "supervisor", metric: "wall", atMost: 150}, "≤ 150 ms", "met: 120 ms"},
		{goal{side: "supervisor", metric: "wall", atMost: 60}, "≤ 60 ms", "missed: 120 ms"},
		{goal{side: "supervisor", metric: "wall", zero: true}, "0", "missed: 120 ms"},
		// The median of 0.25, 0.3 and 0.3.
		{goal{side: "supervisor", metric: "wall", against: "pm2", atMost: 0.5}, "≤ 1/2 × pm2", "met: 0.3 ×"},
		{goal{side: "supervisor", metric: "wall", against: "pm2", atMost: 1.0 / 12}, "≤ 1/12 × pm2", "missed: 0.3 ×"},
		{goal{side: "supervisor", metric: "wall", against: "pm2", atLeast: 0.95}, "≥ 0.95 × pm2", "missed: 0.3 ×"},
		{goal{side: "supervisor", metric: "wall", against: "other", atMost: 1}, "≤ 1 × other", "not measured"},
	} {
		got := c.goal.judge(w, r)
		if got.text(r) != c.text || got.verdict(r) != c.verdict {
			t.Errorf("%+v: %q, %q", c.goal, got.text(r), got.verdict(r))
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0581: "0.058", 1: "1", 1.5: "1.5", 2.345: "2.35", 12.34: "12.3", 100.4: "100", 999: "999",
		1234: "1234", 12345.6: "12,346", 1234567: "1,234,567",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	if got := quantity(12_345, "ms"); got != "12.3 s" {
		t.Error(got)
	}
}

func TestWhatIsWritten(t *testing.T) {
	w, got := example(t)
	got.Goals = []goalResult{goal{side: "supervisor", metric: "wall", against: "pm2", atMost: 0.5}.judge(w, got)}
	r := result{Rows: []rowResult{got}, Versions: map[string]string{"pm2": "7"}}
	picture := svg(r)
	if err := wellFormed(picture); err != nil || strings.Count(picture, "<rect class=\"other\"") != 1 {
		t.Errorf("%v\n%s", err, picture)
	}
	line := "| **reload of <2> workers**: wall | 120 ms | pm2: 400 ms<br>other: – | ≤ 1/2 × pm2 | ✓ 0.3 × |\n"
	if part := readmePart(r); !strings.Contains(part, line) {
		t.Error(part)
	}
	dir := t.TempDir()
	if err := save(dir, r); err != nil {
		t.Fatal(err)
	}
	again, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(r)
	b, _ := json.Marshal(again)
	if string(a) != string(b) {
		t.Errorf("%s\n%s", a, b)
	}
}
