package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"supervisor/supervisor"
	"supervisor/supervisor/fault"
	"supervisor/supervisor/handover"
)

// The files of HOME/state beside those of the workers.
const (
	daemonFile  = "daemon.json"  // what the loop knows, and what files it was started with
	socketsFile = "sockets.json" // what the table of sockets knows
)

// headSchema is the version of head that is written; what the loop keeps has one of
// its own.
const headSchema = 1

// head is daemon.json without the loop's part, which comes last.
type head struct {
	Schema int    `json:"schema"`
	Boot   string `json:"boot_id"`
	// Closed: everything was stopped on purpose. The next daemon begins with nothing.
	Closed bool `json:"closed,omitempty"`
	// Stopping: it is about to be.
	Stopping bool `json:"stopping,omitempty"`
	// Starting: what the daemon was started with is not begun to its end: an app may wait
	// for one that it depends on. Whoever takes over starts it again.
	Starting bool `json:"starting,omitempty"`
	// LastID is the largest number that was given to a spawn, of a closed state.
	LastID uint64               `json:"last_id,omitempty"`
	Files  map[string]overrides `json:"files,omitempty"`
	Begun  []string             `json:"begun,omitempty"` // requests, by their ids, the oldest first
	// Aims are what some of Begun were found to be about when they were.
	Aims map[string]aim `json:"aims,omitempty"`
	// Own are requests under way that no client sends again: a SIGHUP's, and of clients
	// that have left.
	Own []owned `json:"own,omitempty"`

	Loop json.RawMessage `json:"loop,omitempty"`
}

// journal writes the files of HOME/state, each whole. Whoever gives it something gets
// a channel that is closed when that, or something newer, is on disk. While one version
// is being written the next ones wait, and of these only the last is written.
//
// A disk that is full or broken stops no work: that the state is lost is said, once.
type journal struct {
	dir  handover.Dir
	say  func(format string, args ...any)
	room func()          // something could be written
	work *sync.WaitGroup // counts the goroutine

	mu      sync.Mutex
	head    head
	loop    [][]byte // the loop's part, as it was given last
	pending map[string]*version
	busy    bool
	last    map[string][][]byte // what each file was to say last
	failing map[string]bool     // the files whose last write failed
	again   *time.Timer         // writes them; nil: nothing is to be tried again
	still   bool                // nothing is written but what the hands give
	owed    bool                // a change is not written because of that
}

// tryAgain is how long a state waits that could not be written and does not change.
const tryAgain = 5 * time.Second

// version is what a file is to say.
type version struct {
	parts [][]byte
	kept  chan struct{}
}

func newJournal(dir handover.Dir, boot string, say func(string, ...any), room func(), work *sync.WaitGroup) *journal {
	return &journal{dir: dir, say: say, room: room, work: work, head: head{Schema: headSchema, Boot: boot}, pending: map[string]*version{}, last: map[string][][]byte{}, failing: map[string]bool{}}
}

// record keeps what the loop knows.
func (j *journal) record(parts [][]byte) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.loop = parts
	return j.keepDaemon()
}

// change keeps the rest of daemon.json changed by set. In a journal that rests that is
// not waited for: what a successor writes is newer.
func (j *journal) change(set func(*head)) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	set(&j.head)
	if j.still {
		j.owed = true
		at := make(chan struct{})
		close(at)
		return at
	}
	return j.keepDaemon()
}

// note changes the rest of daemon.json, to be written with what the loop gives next.
func (j *journal) note(set func(*head)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	set(&j.head)
}

// keepDaemon gives daemon.json to the writer. The caller holds mu.
func (j *journal) keepDaemon() <-chan struct{} {
	return j.keep(daemonFile, j.document())
}

// close keeps that everything was stopped on purpose, and nothing of what ran.
func (j *journal) close(lastID uint64) {
	j.rest(true)
	j.mu.Lock()
	j.loop = nil
	j.head = head{Schema: headSchema, Boot: j.head.Boot, Closed: true, LastID: lastID}
	kept := j.keepDaemon()
	j.mu.Unlock()
	<-kept
}

// document is daemon.json in parts. The caller holds mu.
func (j *journal) document() [][]byte {
	first, err := json.Marshal(j.head)
	if err != nil { // it is strings and numbers
		panic(err)
	}
	if j.loop == nil {
		return [][]byte{first}
	}
	parts := make([][]byte, 0, len(j.loop)+3)
	parts = append(parts, first[:len(first)-1], []byte(`,"loop":`))
	return append(append(parts, j.loop...), []byte("}\n"))
}

// sockets keeps what the table knows.
func (j *journal) sockets(data []byte) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.keep(socketsFile, [][]byte{data})
}

// keep gives a version to the writer. The caller holds mu.
func (j *journal) keep(name string, parts [][]byte) <-chan struct{} {
	v := j.pending[name]
	if v == nil {
		v = &version{kept: make(chan struct{})}
		j.pending[name] = v
	}
	v.parts, j.last[name] = parts, parts
	if !j.busy {
		j.busy = true
		j.work.Add(1)
		go j.write() // ends when all is written
	}
	return v.kept
}

// write is the one writer.
func (j *journal) write() {
	defer j.work.Done()
	for {
		j.mu.Lock()
		name, v := j.next()
		if v == nil {
			j.busy = false
			j.mu.Unlock()
			return
		}
		delete(j.pending, name)
		j.mu.Unlock()
		fault.Point("journal.given")
		j.wrote(name, j.dir.Keep(name, v.parts))
		fault.Point("journal.kept")
		close(v.kept)
	}
}

// next is the sockets before the loop, which may already know of them. The caller
// holds mu.
func (j *journal) next() (string, *version) {
	for _, name := range []string{socketsFile, daemonFile} {
		if v := j.pending[name]; v != nil {
			return name, v
		}
	}
	return "", nil
}

// wrote says when the state begins and ceases to be lost.
func (j *journal) wrote(name string, err error) {
	j.mu.Lock()
	before := len(j.failing)
	if err != nil {
		j.failing[name] = true
	} else {
		delete(j.failing, name)
	}
	after := len(j.failing)
	j.tryLater()
	j.mu.Unlock()
	switch {
	case before == 0 && after > 0:
		j.say("%v; the work goes on, but a supervisor that takes over now would not know of it", err)
	case before > 0 && after == 0:
		j.say("the state is kept again")
	}
	if err == nil {
		j.room()
	}
}

// tryLater arms the timer, once, if something could not be written. The caller holds mu.
func (j *journal) tryLater() {
	if len(j.failing) > 0 && j.again == nil && !j.still {
		j.again = time.AfterFunc(tryAgain, j.retry)
	}
}

// retry gives what could not be written to the writer again.
func (j *journal) retry() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.again = nil
	if j.still {
		return
	}
	for name := range j.failing {
		j.keep(name, j.last[name])
	}
}

// rest keeps the journal from writing by itself, or lets it again.
func (j *journal) rest(still bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.still = still
	if still && j.again != nil {
		j.again.Stop()
		j.again = nil
	}
	if !still && j.owed {
		j.owed = false
		j.keepDaemon()
	}
	j.tryLater()
}

// now is daemon.json as it would be written at this moment.
func (j *journal) now() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Join(j.document(), nil)
}

// readHead reads what is in daemon.json. A file of another boot, or of a daemon that
// was closed, has nothing but the last id. supervisor.ErrNewer is one of its errors.
func readHead(data []byte, boot string) (head, error) {
	var h head
	if err := json.Unmarshal(data, &h); err != nil {
		return head{}, fmt.Errorf("it is no state of a supervisor: %w", err)
	}
	switch {
	case h.Schema > headSchema:
		return head{}, supervisor.ErrNewer{Schema: h.Schema, Reads: fmt.Sprint(headSchema)}
	case h.Schema < 1:
		return head{}, fmt.Errorf("it is no state of a supervisor: schema %d", h.Schema)
	case h.Boot != boot || h.Closed:
		h.Loop, h.Files, h.Closed = nil, nil, true
	}
	return h, nil
}

// with is what files were started with, a copy: the journal has its own.
func (h head) with() map[string]overrides {
	with := map[string]overrides{}
	maps.Copy(with, h.Files)
	return with
}
