package ecosystem

import (
	"strings"

	"supervisor/supervisor/state"
)

// readMetrics reads the address at which the daemon answers.
//
//	metrics = host ":" port | "tcp://" host ":" port | "unix:" path
func (p *parser) readMetrics(f field) {
	if off(f.value) {
		return
	}
	v := value{a: &app{parser: p, spec: &state.Spec{Cwd: p.folder()}}, n: f.value, path: f.key.text}
	var text string
	if !v.text(&text) {
		return
	}
	if digits(text) {
		v.fail("%s is a port alone: write 127.0.0.1:%s, or :%s for all addresses", quote(text), short(text), short(text))
		return
	}
	if !strings.HasPrefix(text, unixScheme) && !strings.HasPrefix(text, tcpScheme) {
		text = tcpScheme + text
	}
	var l state.Listen
	if v.address(text, &l) {
		p.metrics, p.metricsAt = &l, Place{Line: f.key.line, Col: f.key.col, Path: f.key.text, Text: text}
	}
}
