package daemon

import (
	"crypto/rand"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

// owned is a request that no client sends again.
type owned struct {
	Request state.Request `json:"request"`
	Lives   int           `json:"lives"` // daemons that it was begun again in
}

// maxLives is in how many daemons a request is begun again: one of which they die must not
// be the end of all of them.
const maxLives = 10

// own has a successor go on with a request that is about to be done, if nobody waits for it
// any more. What it returns is closed when that is on record.
func (b *backend) own(req state.Request) <-chan struct{} {
	return b.world.journal.change(func(h *head) {
		if !slices.ContainsFunc(h.Own, func(o owned) bool { return o.Request.ID == req.ID }) {
			h.Own = append(slices.Clone(h.Own), owned{Request: req})
		}
	})
}

// left is for a request whose client has left. Its work goes on, in a successor too.
func (b *backend) left(req state.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls[req.ID] != nil && req.Verb != state.VerbUpgrade && req.Verb != state.VerbSignal && !req.DryRun {
		b.own(req)
	}
}

// hangUp does what a SIGHUP asks for, or has another process do it that takes over.
func (d *daemon) hangUp() {
	if !d.awaitTurn() {
		if d.ctx.Err() == nil {
			unix.PidfdSendSignal(d.next, unix.SIGHUP, nil, 0)
		}
		return
	}
	req := state.Request{Verb: state.VerbReload, ID: rand.Text(), Since: time.Now()}
	kept := d.backend.own(req) // an upgrade that begins now finds it
	<-d.turn
	<-kept
	d.doOwn(req)
}

// resumeOwn goes on with the requests that nobody sends again, and that were under way when
// the daemon before this one died, or was replaced.
func (d *daemon) resumeOwn() {
	var own []owned
	d.world.journal.note(func(h *head) {
		for _, o := range h.Own {
			if o.Lives++; o.Lives > maxLives {
				d.log.Printf("%s: %d supervisors have ended during it: it is given up", o.Request.Verb, o.Lives)
				continue
			}
			own = append(own, o)
		}
		h.Own = own
	})
	for _, o := range own {
		req := o.Request
		d.log.Printf("%s: what was under way goes on", req.Verb)
		req.Resume = true
		d.backend.work.Go(func() { // ends with the request, or with ctx
			<-d.world.journal.change(func(*head) {})
			d.doOwn(req)
		})
	}
}

// doOwn does a request that nobody waits for, and logs what is wrong.
func (d *daemon) doOwn(req state.Request) {
	result := d.backend.Do(d.ctx, req)
	for _, m := range result.Messages {
		d.log.Print(m)
	}
	if result.Error != nil {
		d.log.Print(result.Error.Message)
		d.logSkipped(result)
	}
}
