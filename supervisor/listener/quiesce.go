package listener

import "golang.org/x/sys/unix"

// Quiesce returns when nothing is read, watched, told, stored or recorded any more,
// and everything is on record.
// It closes nothing; calls of workers wait for Resume, or for another process that
// has copies of the descriptors. A call in hand is answered before, as soon as what
// it has changed is on record, or is left in its slot of Hands. Quiesce and Resume
// are called by one goroutine; what is changed between them is on record after Resume.
func (t *Table) Quiesce() {
	phases := map[*pump]*phase{}
	t.do(func() {
		t.quiet, t.armed, t.calming = true, false, false
		t.wake()
		t.settle.Stop()
		t.calm.Stop()
		for p := range t.pumps {
			phases[p] = p.pause()
		}
	})
	for p, ph := range phases {
		select {
		case <-ph.still:
		case <-p.done:
		}
	}
	t.scans.Wait()
	t.doOnRecord(func() {
		for _, s := range t.sockets {
			s.busy = len(s.shares) > 1 // nobody counts: the choice is at random meanwhile
			t.steer(s)
		}
		t.commit()
		t.still = true
	})
}

// Resume ends what Quiesce began.
func (t *Table) Resume() {
	t.do(func() {
		t.quiet, t.still = false, false
		for p := range t.pumps {
			p.goOn()
		}
		t.goOn()
	})
}

// Close ends all readers and closes every descriptor of the table. Files of
// unix sockets stay; Release removes them.
func (t *Table) Close() {
	var pumps []*pump
	t.do(func() {
		t.settle.Stop()
		t.calm.Stop()
		if t.watch != nil {
			t.watch.pump.stop()
		}
		if t.counter != nil {
			t.counter.pump.stop()
		}
		for _, m := range t.members {
			m.pump.stop()
		}
		t.members = map[uint64]*member{}
		for p := range t.pumps {
			pumps = append(pumps, p)
		}
	})
	for _, p := range pumps {
		<-p.done
	}
	t.scans.Wait()
	t.do(func() {
		for _, c := range t.candidates {
			t.forget(c)
		}
		if t.counter != nil {
			unix.Syscall(unix.SYS_IO_DESTROY, t.counter.ctx, 0, 0) // which ends the polls
		}
		for _, h := range t.inodes {
			unix.Close(h.fd)
		}
		for _, s := range t.strays {
			unix.Close(s.fd)
		}
		t.beacon.close()
		close(t.closed)
	})
	<-t.done
}
