package main

import (
	"fmt"
	"html"
	"strings"
)

// The picture's measures, in its own units. Text has no width here that could be
// asked for, so its columns are wide enough for the longest there is.
const (
	svgWidth  = 860
	svgMargin = 24
	svgLabel  = 250 // where bars begin
	svgBar    = 440 // how long the longest is
	svgLine   = 22  // from one bar to the next
	svgThick  = 14
	svgTitle  = 26
	svgGap    = 16 // between two rows
	svgHead   = 64
)

// svgStyle has the colours of a light and of a dark page. The picture has a ground of
// its own, since a viewer may have another opinion of what the page is than the page.
// No variables: not every viewer knows them.
const svgStyle = `<style>
.ground { fill: #ffffff; stroke: #d1d9e0; }
text { font: 13px system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: #1f2328; }
.head { font-size: 16px; font-weight: 600; }
.title { font-weight: 600; }
.soft { fill: #59636e; font-size: 12px; font-weight: 400; }
.label { text-anchor: end; }
.ours { fill: #0969da; }
.other { fill: #afb8c1; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117; stroke: #3d444d; }
  text { fill: #f0f6fc; }
  .soft { fill: #9198a1; }
  .ours { fill: #4493f8; }
  .other { fill: #57606a; }
}
</style>
`

// svg draws bars of the metrics that are for the picture. The bars of one metric have
// a scale of their own.
func svg(r result) string {
	var body strings.Builder
	y := svgHead
	for _, row := range r.Rows {
		for _, m := range row.Metrics {
			if m.Picture {
				y += bars(&body, y, row, m)
			}
		}
	}
	height := y + svgMargin - svgGap
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="The supervisor measured beside others">`+"\n", svgWidth, height, svgWidth, height)
	b.WriteString(svgStyle)
	fmt.Fprintf(&b, `<rect class="ground" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>`+"\n", svgWidth-1, height-1)
	fmt.Fprintf(&b, `<text class="head" x="%d" y="32">The same work, side by side</text>`+"\n", svgMargin)
	fmt.Fprintf(&b, `<text class="soft" x="%d" y="50">%s</text>`+"\n", svgMargin, html.EscapeString(r.When.Format("2006-01-02")+", "+versions(r)))
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	return b.String()
}

// bars draws one metric from y down, and returns its height.
func bars(b *strings.Builder, y int, row rowResult, m metricResult) int {
	longest := 0.0
	for _, s := range m.Sides {
		if s.Value != nil {
			longest = max(longest, *s.Value)
		}
	}
	title := row.Title
	if m.Title != "wall" && m.Title != "time" && !strings.Contains(title, m.Title) {
		title += ": " + m.Title
	}
	better := "less is better"
	if row.moreIsBetter(m.Name) {
		better = "more is better"
	}
	fmt.Fprintf(b, `<text x="%d" y="%d"><tspan class="title">%s</tspan><tspan class="soft" dx="10">%s</tspan></text>`+"\n", svgMargin, y+16, html.EscapeString(title), better)
	top := y + svgTitle
	for _, s := range m.Sides {
		if s.Value == nil {
			continue
		}
		class, length := "other", 2.0
		if strings.HasPrefix(s.Side, "supervisor") {
			class = "ours"
		}
		if longest > 0 {
			length = max(length, *s.Value/longest*svgBar)
		}
		fmt.Fprintf(b, `<text class="label" x="%d" y="%d">%s</text>`, svgLabel-10, top+12, html.EscapeString(s.Side))
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, svgLabel, top, length, svgThick)
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", svgLabel+length+8, top+12, html.EscapeString(quantity(*s.Value, m.Unit)))
		top += svgLine
	}
	return top - y + svgGap
}

// moreIsBetter tells by the row's goals.
func (r rowResult) moreIsBetter(metric string) bool {
	for _, g := range r.Goals {
		if g.Metric == metric && g.AtLeast > 0 {
			return true
		}
	}
	return false
}
