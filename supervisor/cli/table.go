package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"supervisor/supervisor/state"
)

// cell is one field of a table.
type cell struct {
	text   string
	colour string
}

// table aligns its columns with two spaces between them, no frame: it can be
// read, grepped and cut.
type table struct {
	head  []string
	right []bool // numbers
	rows  [][]cell
}

// print writes the whole table at once: a thousand lines are one system call.
func (t *table) print(p *printer) {
	widths := make([]int, len(t.head))
	for i, h := range t.head {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, r := range t.rows {
		for i := range r {
			r[i].text = p.safe(r[i].text)
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i].text))
		}
	}
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{h, faint}
	}
	var all []byte
	for _, r := range append([][]cell{head}, t.rows...) {
		var b strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			text := p.paint(c.colour, c.text)
			switch {
			case t.right[i]:
				b.WriteString(pad + text)
			case i == len(r)-1:
				b.WriteString(text)
			default:
				b.WriteString(text + pad)
			}
			if i < len(r)-1 {
				b.WriteString("  ")
			}
		}
		all = append(append(all, strings.TrimRight(b.String(), " ")...), '\n')
	}
	p.out.Write(all)
}

// printList is what list shows.
func (p *printer) printList(snap state.Snapshot) {
	if len(snap.Apps) == 0 {
		p.linef("no apps")
		return
	}
	t := table{
		head:  []string{"name", "slot", "gen", "pid", "state", "uptime", "restarts", "cpu", "memory", "listening"},
		right: []bool{false, true, true, true, false, true, true, true, true, false},
	}
	for _, a := range snap.Apps {
		if len(a.Workers) == 0 {
			t.rows = append(t.rows, plainRow(a.Name, "-", strconv.Itoa(a.Generation), "-", a.Status, "-", strconv.Itoa(a.Restarts), "-", "-", "-"))
		}
		for _, w := range a.Workers {
			t.rows = append(t.rows, plainRow(a.Name, strconv.Itoa(w.Slot), strconv.Itoa(w.Generation), orDash(w.PID), w.State,
				uptime(w.UptimeMS), strconv.Itoa(w.Restarts), percent(w.CPUPercent), size(w.RSSBytes), orNone(strings.Join(w.Listeners, " "))))
		}
	}
	t.print(p)
	for _, a := range snap.Apps {
		switch a.Status {
		case state.AppOnline, state.AppStopped:
		default:
			p.linef("%s is %s", a.Name, p.paint(stateColour(a.Status), a.Status))
		}
	}
}

func plainRow(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, t := range texts {
		row[i].text = t
	}
	row[4].colour = stateColour(texts[4])
	return row
}

func orDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// uptime is the largest one or two units: 41s, 3m12s, 5h2m, 12d3h.
func uptime(ms *int64) string {
	if ms == nil {
		return "-"
	}
	d := time.Duration(*ms) * time.Millisecond
	s, m, h := int(d.Seconds())%60, int(d.Minutes())%60, int(d.Hours())
	switch {
	case h >= 24:
		return fmt.Sprintf("%dd%dh", h/24, h%24)
	case h > 0:
		return fmt.Sprintf("%dh%dm", h, m)
	case m > 0:
		return fmt.Sprintf("%dm%ds", m, s)
	}
	return fmt.Sprintf("%ds", s)
}

func percent(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", *p)
}

// size is in binary units, as the file's sizes are.
func size(b *int64) string {
	if b == nil {
		return "-"
	}
	v := float64(*b)
	for _, unit := range []string{"B", "K", "M"} {
		if v < 1024 {
			if unit == "B" {
				return fmt.Sprintf("%.0fB", v)
			}
			return fmt.Sprintf("%.1f%s", v, unit)
		}
		v /= 1024
	}
	return fmt.Sprintf("%.1fG", v)
}

// span is a duration for a sentence: 41 ms, 1.2 s, 3 min 5 s.
func span(ms int64) string {
	switch {
	case ms < 1000:
		return fmt.Sprintf("%d ms", ms)
	case ms < 60_000:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(ms)/1000), ".0") + " s"
	}
	return fmt.Sprintf("%d min %d s", ms/60_000, ms/1000%60)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
