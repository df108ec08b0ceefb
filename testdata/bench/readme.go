package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The README's part stands between these, each on a line of its own.
const (
	readmeBegin = "<!-- bench -->\n"
	readmeEnd   = "<!-- /bench -->"
)

// writeReadme puts the results in their place.
func writeReadme(r result) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	path := filepath.Join(root, "README.md")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, after, err := cutReadme(string(data))
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(before+readmeBegin+readmePart(r)+readmeEnd+after), 0o644)
}

// cutReadme finds the part.
func cutReadme(text string) (before, part, after string, err error) {
	before, rest, ok1 := strings.Cut(text, readmeBegin)
	part, after, ok2 := strings.Cut(rest, readmeEnd)
	if !ok1 || !ok2 {
		return "", "", "", errors.New("the README has no part for the benchmark")
	}
	return before, part, after, nil
}

// readmePart is what the results say.
func readmePart(r result) string {
	var b strings.Builder
	met, missed, open := r.tally()
	fmt.Fprintf(&b, "![Bars: each row's figures, the supervisor's beside those of others](testdata/bench/%s)\n\n", resultsSVG)
	fmt.Fprintf(&b, "Made by `%s` on %s, %s; %s. %s met, %d missed", r.Command, r.When.Format("2006-01-02"), r.Machine, versions(r), plural(met, "goal"), missed)
	if open > 0 {
		fmt.Fprintf(&b, ", %d not measured", open)
	}
	b.WriteString(".\n\n| work | supervisor | beside it | goal | reached |\n|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		for i, m := range row.Metrics {
			name := m.Title
			if i == 0 {
				name = "**" + row.Title + "**: " + m.Title
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(name), cell(values(m, true)), cell(values(m, false)),
				cell(goals(row, m, goalResult.text)), cell(goals(row, m, goalResult.mark)))
		}
	}
	b.WriteString("\nHow each was done:\n\n")
	for _, row := range r.Rows {
		if row.Note != "" {
			fmt.Fprintf(&b, "- %s (`-only %s`, %s): %s.\n", row.Title, row.Name, plural(row.Rounds, "round"), row.Note)
		}
	}
	return b.String()
}

// values lists a metric's sides: ours, or the others.
func values(m metricResult, ours bool) string {
	var parts []string
	for _, s := range m.Sides {
		if strings.HasPrefix(s.Side, "supervisor") != ours {
			continue
		}
		value := "–"
		if s.Value != nil {
			value = quantity(*s.Value, m.Unit)
		}
		if name := short(s.Side); name != "" {
			value = name + ": " + value
		}
		parts = append(parts, value)
	}
	return strings.Join(parts, "<br>")
}

// short is a side's name in the column of the supervisor, where that need not be said.
func short(side string) string {
	for _, prefix := range []string{"supervisor's ", "supervisor, ", "supervisor"} {
		if rest, ok := strings.CutPrefix(side, prefix); ok {
			return rest
		}
	}
	return side
}

// goals lists a metric's goals, each with the name of its side where there are several.
func goals(r rowResult, m metricResult, say func(goalResult, rowResult) string) string {
	several := false
	for _, g := range r.Goals {
		several = several || g.Side != r.Goals[0].Side
	}
	var parts []string
	for _, g := range r.Goals {
		if g.Metric != m.Name {
			continue
		}
		text := say(g, r)
		if name := short(g.Side); several && name != "" {
			text = name + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "<br>")
}

// mark is the verdict in short.
func (g goalResult) mark(r rowResult) string {
	v := g.verdict(r)
	if text, ok := strings.CutPrefix(v, "met: "); ok {
		return "✓ " + text
	}
	if text, ok := strings.CutPrefix(v, "missed: "); ok {
		return "✗ " + text
	}
	return v
}

// cell is a text in a table of Markdown.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
