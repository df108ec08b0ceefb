package gate

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"supervisor/supervisor/notify"
)

const (
	// MaxStatus is the longest status in bytes.
	MaxStatus = 256
	// datagramsPerWindow is how many notifications are read in a window.
	datagramsPerWindow = 64
	// maxSwept bounds what is taken from a socket whose worker is gone: more than a queue holds
	// (net.unix.max_dgram_qlen).
	maxSwept = 1024
)

// notified reads NOTIFY_SOCKET.
type notified struct {
	g      *Gates
	socket *notify.Receiver
	allow  func(pid int32, uid uint32) bool
	bad    reporter
	status string
}

func (n *notified) receive() (int, error) {
	d, err := n.socket.Peek()
	if err != nil {
		return 0, err
	}
	n.heard(d)
	n.socket.Discard()
	return 1, nil
}

// sweep deals with what is there. The reader must be at rest.
func (n *notified) sweep() {
	for range maxSwept {
		d, err := n.socket.PeekPending()
		if err != nil {
			return
		}
		n.heard(d)
		n.socket.Discard()
	}
}

func (n *notified) heard(d notify.Datagram) {
	if !n.allow(d.PID, d.UID) {
		n.bad.say("foreign", "a message of process %d (uid %d), which does not belong to the worker", d.PID, d.UID)
		return
	}
	if d.Long {
		n.bad.say("long", "a message of more than %d bytes", notify.MaxDatagram)
		return
	}
	m, err := notify.Parse(d.Data)
	if err != nil {
		n.bad.say("garbage", "not a notification: %v", err)
		return
	}
	// More time first: it must not come too late for the rest.
	if m.ExtendTimeout > 0 {
		n.g.facts(ExtendTimeout{Worker: n.g.worker, D: m.ExtendTimeout})
	}
	if m.Status != nil {
		if s := cleanStatus(*m.Status); s != n.status {
			n.status = s
			n.g.facts(Status{Worker: n.g.worker, Text: s})
		}
	}
	if m.Ready {
		n.g.open(NotifySocket)
	}
	if m.Stopping {
		n.g.facts(Stopping{Worker: n.g.worker})
	}
	if m.Watchdog != notify.WatchdogNone {
		n.g.facts(Watchdog{Worker: n.g.worker, Trigger: m.Watchdog == notify.WatchdogTrigger})
	}
}

// cleanStatus makes a worker's text fit for a terminal: no escape sequences, no characters that
// can't be seen or turn the direction, at most MaxStatus bytes, cut between characters.
func cleanStatus(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return ' '
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= MaxStatus {
		return s
	}
	s = s[:MaxStatus]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return strings.TrimSpace(s)
}
