package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"supervisor/supervisor/state"
)

// progressView shows what happens to the workers while a command waits: a line
// per event, or on a terminal a block with a line per worker that is redrawn.
type progressView struct {
	p     *printer
	rows  []progressRow
	drawn int // lines of the block that are on the screen
}

// progressRow is one worker, or one note.
type progressRow struct {
	key  string
	text string
	done bool // nothing more comes of it
}

func newProgress(p *printer) *progressView { return &progressView{p: p} }

// event shows one event.
func (v *progressView) event(e state.Event) {
	text := eventText(e)
	if text == "" {
		return
	}
	if !v.p.terminal {
		v.p.linef("%s", text)
		return
	}
	key := ""
	if e.Kind == state.EventWorker {
		key = fmt.Sprintf("%s:%d:%d", e.App, e.Slot, e.Worker)
	}
	v.put(progressRow{key: key, text: v.colour(e, text), done: key == "" || ended(e.What)})
	v.draw()
}

// end leaves the block on the screen as it is.
func (v *progressView) end() { v.rows, v.drawn = nil, 0 }

func ended(what string) bool {
	switch what {
	case state.WhatGone, state.WhatErrored, state.WhatFailed:
		return true
	}
	return false
}

func (v *progressView) colour(e state.Event, text string) string {
	text = v.fit(v.p.safe(text))
	switch e.What {
	case state.WhatReady, state.WhatSoaked:
		return v.p.paint(green, text)
	case state.WhatFailed, state.WhatErrored, state.WhatExited, state.WhatKilled:
		return v.p.paint(red, text)
	case state.WhatGone:
		return v.p.paint(faint, text)
	}
	return text
}

// fit cuts a line to the terminal's width: a wrapped line can't be redrawn.
func (v *progressView) fit(text string) string {
	text = strings.ReplaceAll(text, "\t", " ")
	if width := v.p.columns - 1; width > 3 && utf8.RuneCountInString(text) > width {
		return string([]rune(text)[:width-3]) + "..."
	}
	return text
}

func (v *progressView) put(row progressRow) {
	for i := range v.rows {
		if row.key != "" && v.rows[i].key == row.key {
			v.rows[i] = row
			return
		}
	}
	v.rows = append(v.rows, row)
}

// draw rewrites the block. Rows that are done and would make it higher than the
// screen scroll away above it.
func (v *progressView) draw() {
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", v.drawn) // ECMA-48 CUU, ED
	}
	high := max(v.p.rows-2, 4)
	for len(v.rows) > high {
		i := v.firstDone()
		fmt.Fprintln(&b, v.rows[i].text)
		v.rows = append(v.rows[:i], v.rows[i+1:]...)
	}
	for _, r := range v.rows {
		fmt.Fprintln(&b, r.text)
	}
	v.drawn = len(v.rows)
	fmt.Fprint(v.p.out, b.String())
}

func (v *progressView) firstDone() int {
	for i, r := range v.rows {
		if r.done {
			return i
		}
	}
	return 0
}

// eventText is an event in words, "" for those that a person need not see.
func eventText(e state.Event) string {
	switch e.Kind {
	case state.EventWorker:
		if e.What == "" {
			return ""
		}
		text := fmt.Sprintf("%s:%d %s", e.App, e.Slot, e.What)
		if e.What == state.WhatReady && e.Text != "" {
			text, e.Text = text+" by "+e.Text, ""
		}
		if e.PID != 0 {
			text += fmt.Sprintf(", pid %d", e.PID)
		}
		if e.Generation != 0 {
			text += fmt.Sprintf(", generation %d", e.Generation)
		}
		if e.Text != "" {
			text += ": " + e.Text
		}
		return text
	case state.EventReload:
		if e.Receipt != nil { // shown whole when the command ends
			return ""
		}
	case state.EventLost:
		return fmt.Sprintf("(%s not shown)", plural(e.Lost, "event"))
	case state.EventMessage, state.EventApp: // the command's answer tells what became of the app
		return ""
	}
	if e.Text == "" {
		return ""
	}
	if e.App != "" && !strings.HasPrefix(e.Text, e.App) {
		return e.App + ": " + e.Text
	}
	return e.Text
}
