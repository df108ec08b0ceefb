// Package notify is the sd_notify codec, both directions: what a worker says to us on its
// NOTIFY_SOCKET, and what we say upward to systemd or the keeper (sd_notify(3)).
//
// Invariants:
//   - Parse never fails because of one odd line: what it doesn't know, or knows with a value
//     that it can't read, is kept in Other. It fails only for a datagram that is none at all
//     (too long, NUL bytes, no assignment in it).
//   - Parse and Format are pure, and Parse(Format(m)) is m for every m that Parse returned.
//   - A Receiver never lets a descriptor that somebody sent into our table.
//   - Every size has a named limit.
package notify

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// MaxDatagram is the longest datagram in bytes; systemd's own limit (NOTIFY_BUFFER_MAX).
	MaxDatagram = 4096
	// MaxVars is the largest number of assignments in one datagram.
	MaxVars = 128
)

// Errors of Parse. They say that the datagram as a whole is not a notification.
var (
	ErrTooLong = errors.New("longer than 4096 bytes")
	ErrTooMany = errors.New("more than 128 assignments")
	ErrNUL     = errors.New("NUL byte in it")
	ErrGarbage = errors.New("no VAR=VALUE line in it")
)

// Watchdog is what a message says about the watchdog.
type Watchdog uint8

// WatchdogPing is WATCHDOG=1, a sign of life; WatchdogTrigger is WATCHDOG=trigger, "treat me
// as hung".
const (
	WatchdogNone Watchdog = iota
	WatchdogPing
	WatchdogTrigger
)

// Var is one assignment that has no field of its own in Message.
type Var struct{ Name, Value string }

// Message is one notification; a zero field was not said. Field by field it is sd_notify(3).
// Times that exceed a time.Duration (292 years) are cut to the longest one.
type Message struct {
	Ready         bool          // READY=1
	Reloading     bool          // RELOADING=1
	Stopping      bool          // STOPPING=1
	Barrier       bool          // BARRIER=1
	FDStore       bool          // FDSTORE=1
	FDStoreRemove bool          // FDSTOREREMOVE=1
	FDNoPoll      bool          // FDPOLL=0
	FDName        string        // FDNAME=
	Status        *string       // STATUS=, valid UTF-8 and otherwise as sent; "" clears it
	Monotonic     time.Duration // MONOTONIC_USEC=, CLOCK_MONOTONIC when the reload began
	Watchdog      Watchdog      // WATCHDOG=
	WatchdogEvery time.Duration // WATCHDOG_USEC=, a new watchdog timeout
	ExtendTimeout time.Duration // EXTEND_TIMEOUT_USEC=, from now on
	MainPID       int           // MAINPID=
	Errno         int           // ERRNO=
	ExitStatus    *uint8        // EXIT_STATUS=
	Other         []Var         // all else, in the order of the datagram
}

// Parse reads one datagram. The message holds no reference to p.
func Parse(p []byte) (Message, error) {
	var m Message
	if len(p) > MaxDatagram {
		return m, ErrTooLong
	}
	s := strings.TrimSuffix(string(p), "\x00") // systemd permits one at the end
	if strings.IndexByte(s, 0) >= 0 {
		return m, ErrNUL
	}
	n := 0
	for line := range strings.SplitSeq(s, "\n") {
		name, value, ok := strings.Cut(line, "=")
		if !ok || !validName(name) {
			continue
		}
		if n++; n > MaxVars {
			return Message{}, ErrTooMany
		}
		if !m.set(name, value) {
			m.Other = append(m.Other, Var{name, value})
		}
	}
	if n == 0 {
		return Message{}, ErrGarbage
	}
	return m, nil
}

// set stores one assignment in its field; false means that it has none, or that the value is
// not one that the field can hold. Of two assignments the last counts.
func (m *Message) set(name, value string) bool {
	switch name {
	case "READY":
		return flag(&m.Ready, value, "1")
	case "RELOADING":
		return flag(&m.Reloading, value, "1")
	case "STOPPING":
		return flag(&m.Stopping, value, "1")
	case "BARRIER":
		return flag(&m.Barrier, value, "1")
	case "FDSTORE":
		return flag(&m.FDStore, value, "1")
	case "FDSTOREREMOVE":
		return flag(&m.FDStoreRemove, value, "1")
	case "FDPOLL":
		return flag(&m.FDNoPoll, value, "0")
	case "FDNAME":
		if value == "" {
			return false
		}
		m.FDName = value
		return true
	case "STATUS":
		if !utf8.ValidString(value) {
			return false
		}
		m.Status = &value
		return true
	case "WATCHDOG":
		switch value {
		case "1":
			m.Watchdog = WatchdogPing
		case "trigger":
			m.Watchdog = WatchdogTrigger
		default:
			return false
		}
		return true
	case "MONOTONIC_USEC":
		return usec(&m.Monotonic, value)
	case "WATCHDOG_USEC":
		return usec(&m.WatchdogEvery, value)
	case "EXTEND_TIMEOUT_USEC":
		return usec(&m.ExtendTimeout, value)
	case "MAINPID":
		return number(&m.MainPID, value)
	case "ERRNO":
		return number(&m.Errno, value)
	case "EXIT_STATUS":
		n, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return false
		}
		b := uint8(n)
		m.ExitStatus = &b
		return true
	}
	return false
}

// Format writes a message as one datagram. A value with a newline or NUL in it, an invalid
// name in Other, an empty message, and one longer than MaxDatagram are errors.
func Format(m Message) ([]byte, error) {
	vars := append(m.vars(), m.Other...)
	switch {
	case len(vars) == 0:
		return nil, ErrGarbage
	case len(vars) > MaxVars:
		return nil, ErrTooMany
	}
	var b []byte
	for i, v := range vars {
		if !validName(v.Name) {
			return nil, fmt.Errorf("cannot send %q: not a variable's name", v.Name)
		}
		if strings.ContainsAny(v.Value, "\n\x00") {
			return nil, fmt.Errorf("cannot send %s: newline or NUL in its value", v.Name)
		}
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, v.Name...)
		b = append(b, '=')
		b = append(b, v.Value...)
	}
	if len(b) > MaxDatagram {
		return nil, ErrTooLong
	}
	return b, nil
}

// vars are the fields that say something, as assignments.
func (m *Message) vars() []Var {
	var vars []Var
	add := func(said bool, name, value string) {
		if said {
			vars = append(vars, Var{name, value})
		}
	}
	add(m.Ready, "READY", "1")
	add(m.Reloading, "RELOADING", "1")
	add(m.Stopping, "STOPPING", "1")
	add(m.Barrier, "BARRIER", "1")
	add(m.FDStore, "FDSTORE", "1")
	add(m.FDStoreRemove, "FDSTOREREMOVE", "1")
	add(m.FDNoPoll, "FDPOLL", "0")
	add(m.FDName != "", "FDNAME", m.FDName)
	add(m.Watchdog == WatchdogPing, "WATCHDOG", "1")
	add(m.Watchdog == WatchdogTrigger, "WATCHDOG", "trigger")
	add(m.Monotonic > 0, "MONOTONIC_USEC", micros(m.Monotonic))
	add(m.WatchdogEvery > 0, "WATCHDOG_USEC", micros(m.WatchdogEvery))
	add(m.ExtendTimeout > 0, "EXTEND_TIMEOUT_USEC", micros(m.ExtendTimeout))
	add(m.MainPID > 0, "MAINPID", strconv.Itoa(m.MainPID))
	add(m.Errno > 0, "ERRNO", strconv.Itoa(m.Errno))
	if m.ExitStatus != nil {
		add(true, "EXIT_STATUS", strconv.Itoa(int(*m.ExitStatus)))
	}
	if m.Status != nil {
		add(true, "STATUS", *m.Status)
	}
	return vars
}

func flag(to *bool, value, want string) bool {
	if value != want {
		return false
	}
	*to = true
	return true
}

// usec reads microseconds as systemd does: decimal, 64 bits, no sign. Zero says nothing.
func usec(to *time.Duration, value string) bool {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n == 0 {
		return false
	}
	const longest = uint64(math.MaxInt64 / time.Microsecond)
	*to = time.Duration(min(n, longest)) * time.Microsecond
	return true
}

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

// number reads a positive number of 31 bits: a pid_t or an errno.
func number(to *int, value string) bool {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n == 0 {
		return false
	}
	*to = int(n)
	return true
}

// validName reports whether s is a variable's name: letters, digits and underscores.
func validName(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
