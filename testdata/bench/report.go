package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// text is the whole result for a terminal.
func text(r result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, %s\n%s\n", r.When.Format("2006-01-02 15:04 UTC"), r.Machine, versions(r))
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "\n%s (%s, %s)\n", row.Title, row.Name, plural(row.Rounds, "round"))
		b.WriteString(rowText(row))
	}
	met, missed, open := r.tally()
	fmt.Fprintf(&b, "\n%s met, %d missed, %d not measured\n", plural(met, "goal"), missed, open)
	return b.String()
}

// rowText is a row's table and its goals.
func rowText(r rowResult) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, m := range r.Metrics {
		for _, s := range m.Sides {
			if s.Value == nil {
				fmt.Fprintf(w, "  %s\t%s\t–\t%s\n", m.Title, s.Side, s.Missing)
				continue
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", m.Title, s.Side, quantity(*s.Value, m.Unit), spread(s.Samples, m.Unit))
		}
	}
	for _, g := range r.Goals {
		fmt.Fprintf(w, "  goal: %s\t%s\t%s\t%s\n", r.metric(g.Metric).Title, g.Side, g.verdict(r), g.text(r))
	}
	w.Flush()
	return b.String()
}

// tally counts the goals.
func (r result) tally() (met, missed, open int) {
	for _, row := range r.Rows {
		for _, g := range row.Goals {
			switch {
			case g.Met == nil:
				open++
			case *g.Met:
				met++
			default:
				missed++
			}
		}
	}
	return met, missed, open
}

// text is the goal in words.
func (g goalResult) text(r rowResult) string {
	sign, bound := "≤", g.AtMost
	if g.AtLeast > 0 {
		sign, bound = "≥", g.AtLeast
	}
	if g.Zero {
		return "0"
	}
	if g.Against == "" {
		return sign + " " + quantity(bound, r.metric(g.Metric).Unit)
	}
	factor := number(bound)
	if n := math.Round(1 / bound); bound <= 0.5 && math.Abs(n*bound-1) < 1e-9 {
		factor = "1/" + number(n)
	}
	return sign + " " + factor + " × " + g.Against
}

// verdict says what was reached, and whether that is the goal.
func (g goalResult) verdict(r rowResult) string {
	if g.Met == nil {
		return "not measured"
	}
	reached := quantity(*g.Reached, r.metric(g.Metric).Unit)
	if g.Against != "" {
		reached = number(*g.Reached) + " ×"
	}
	if *g.Met {
		return "met: " + reached
	}
	return "missed: " + reached
}

// text is a measurement in one line.
func (f figures) text(metrics []metric) string {
	var parts []string
	for _, m := range metrics {
		if v, ok := f[m.name]; ok {
			parts = append(parts, m.title+" "+quantity(v, m.unit))
		}
	}
	return strings.Join(parts, ", ")
}

// spread is the range of the rounds.
func spread(samples []float64, unit string) string {
	if len(samples) < 2 {
		return ""
	}
	least, most := samples[0], samples[0]
	for _, v := range samples {
		least, most = min(least, v), max(most, v)
	}
	return "[" + number(least) + " .. " + quantity(most, unit) + "]"
}

// quantity is a number with its unit; seconds where milliseconds are many.
func quantity(v float64, unit string) string {
	if unit == "ms" && v >= 10_000 {
		v, unit = v/1000, "s"
	}
	if unit == "" || unit == "1/s" {
		return number(v)
	}
	return number(v) + " " + unit
}

// number has three digits, and all of those before the point, in groups.
func number(v float64) string {
	digits := 0
	switch a := math.Abs(v); {
	case a == math.Trunc(a) || a >= 100:
	case a >= 10:
		digits = 1
	case a >= 1:
		digits = 2
	default:
		digits = 3
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if i, frac, ok := strings.Cut(text, "."); ok {
		if frac = strings.TrimRight(frac, "0"); frac == "" {
			return i
		}
		return i + "." + frac
	}
	for i := len(text) - 3; i > 0 && len(text) > 4; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// plural is a count of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// versions names what was measured.
func versions(r result) string {
	var parts []string
	for _, name := range []string{"supervisor", "go", "node", "pm2", "gunicorn", "nginx"} {
		if v := r.Versions[name]; v != "" {
			parts = append(parts, name+" "+v)
		}
	}
	return strings.Join(parts, ", ")
}
