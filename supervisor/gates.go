package supervisor

import (
	"fmt"

	"supervisor/supervisor/state"
)

// gates are those that a process has passed on its way to being ready.
type gates struct {
	Said   string `json:"said,omitzero"` // by which channel its ready message came, "" for not yet
	Probed bool   `json:"probed,omitzero"`
	Answer string `json:"answer,omitzero"` // the probe's last one that was not good
}

// learnReady: the message came. Where a probe alone decides it opens nothing.
func (l *Loop) learnReady(w *member, inc int, f BecameReady) {
	s := w.gen.spec
	if !s.WaitReady && s.Protocol == state.ProtocolNone {
		return
	}
	w.gates.Said = f.Via
	if s.Ready != nil {
		l.pass(w, inc)
		return
	}
	l.ready(w, inc, f.Via, false)
}

// learnProbed: the probe got an answer, which opens its gate if it was good.
func (l *Loop) learnProbed(w *member, inc int, f Probed) {
	if f.Err != nil {
		w.gates.Answer = f.Err.Error()
		return
	}
	w.gates.Probed = true
	l.pass(w, inc)
}

// pass makes a worker with a probe ready when every gate is open: the probe's, and
// with wait_ready the message's.
func (l *Loop) pass(w *member, inc int) {
	switch {
	case !w.gates.Probed:
	case !w.gen.spec.WaitReady:
		l.ready(w, inc, "probe", false)
	case w.gates.Said != "":
		l.ready(w, inc, w.gates.Said+" and probe", false)
	}
}

// lateness says what a worker was waited for in vain.
func (w *member) lateness() string {
	s := w.gen.spec
	mute := s.WaitReady && w.gates.Said == ""
	unproven := s.Ready != nil && !w.gates.Probed
	answer := w.gates.Answer
	if answer == "" && s.Ready != nil {
		answer = s.Ready.String() + " gave no answer"
	}
	waited := "it has not listened"
	switch {
	case mute && unproven:
		waited = "it has not said ready, and the probe " + answer
	case mute:
		waited = "it has not said ready"
	case unproven:
		waited = "the probe " + answer
	}
	text := fmt.Sprintf("not ready: %s within %s (listen_timeout)", waited, s.ListenTimeout)
	if w.said != "" {
		text += fmt.Sprintf("; its last status was %q", w.said)
	}
	if through := w.gen.launch.Wrapper; mute && through != "" {
		text += fmt.Sprintf("; it runs through %s, which may have taken its ready channel: run the program itself (script: server.js), or a plain command in package.json, or let it say READY=1 to NOTIFY_SOCKET", through)
	}
	return text
}
