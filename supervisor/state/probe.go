package state

import "time"

// Probe is a question that is put to a worker until it is answered once: another
// gate of readiness.
type Probe struct {
	Kind     ProbeKind     `json:"kind"`
	Target   string        `json:"target"`   // as it was written, variables not expanded
	Interval time.Duration `json:"interval"` // from one answer to the next question
	Timeout  time.Duration `json:"timeout"`  // of one question
}

// ProbeKind says what counts as an answer.
type ProbeKind string

const (
	ProbeHTTP ProbeKind = "http" // a URL answers 2xx or 3xx
	ProbeTCP  ProbeKind = "tcp"  // HOST:PORT takes a connection
	ProbeUnix ProbeKind = "unix" // a socket's path takes a connection
	ProbeExec ProbeKind = "exec" // a command ends with exit code 0
)

// String returns the probe as the short form of the key ready is written.
func (p Probe) String() string {
	switch p.Kind {
	case ProbeTCP:
		return "tcp://" + p.Target
	case ProbeUnix:
		return "unix:" + p.Target
	case ProbeExec:
		return "exec: " + p.Target
	}
	return p.Target
}
