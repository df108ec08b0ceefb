package gate

import (
	"encoding/json"
	"time"
)

// Channel is a way by which a worker speaks to us, in the words shown to users.
type Channel string

const (
	ReadyFD      Channel = "READY_FD"
	NotifySocket Channel = "NOTIFY_SOCKET"
	NodeIPC      Channel = "node ipc"

	TableflipPipe Channel = "tableflip"
)

// Fact is what a worker said. The types below are all there are; each carries the worker's id.
type Fact interface{ fact() }

// Ready says that the worker is ready. It comes at most once, by whichever channel was first.
type Ready struct {
	Worker uint64
	Via    Channel
}

// Status is STATUS= of sd_notify: one line, at most MaxStatus bytes, printable characters only.
// It comes when the text changes; "" clears it.
type Status struct {
	Worker uint64
	Text   string
}

// ExtendTimeout is EXTEND_TIMEOUT_USEC=: the worker asks for D more, counted from now. D is
// what it asked for, up to 292 years: whoever acts on it sets the bound.
type ExtendTimeout struct {
	Worker uint64
	D      time.Duration
}

// Stopping is STOPPING=1.
type Stopping struct{ Worker uint64 }

// Watchdog is WATCHDOG=1, a sign of life; Trigger is WATCHDOG=trigger, "I hang".
type Watchdog struct {
	Worker  uint64
	Trigger bool
}

// Message is a message of process.send() that has no meaning here. JSON is a valid value
// without a newline, at most MaxLine bytes, and the receiver's to keep. Dropped counts the
// messages before it that exceeded MaxMessages or MaxMessageBytes in their second.
type Message struct {
	Worker  uint64
	JSON    json.RawMessage
	Dropped uint64
}

// Bad says that a worker misuses a channel; Why is for people. The channel works on. It comes
// once per channel and kind of misuse.
type Bad struct {
	Worker  uint64
	Channel Channel
	Why     string
}

func (Ready) fact()         {}
func (Status) fact()        {}
func (ExtendTimeout) fact() {}
func (Stopping) fact()      {}
func (Watchdog) fact()      {}
func (Message) fact()       {}
func (Bad) fact()           {}
