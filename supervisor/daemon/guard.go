package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"supervisor/supervisor/handover"
)

// keeperPID is the keeper's; 0 where systemd, or nobody, has its part.
func (d *daemon) keeperPID() int { return int(d.keeper.Load()) }

// anyTracer lets every process of the same user look into a worker (PR_SET_PTRACER_ANY).
const anyTracer = -1

// tracer is who may look into the workers where Yama allows it to ancestors alone (DESIGN
// section 7): the keeper, with what it starts. Under systemd those who come after us are no
// relations of ours; with CAP_SYS_PTRACE nobody asks.
func (d *daemon) tracer() int {
	if pid := d.keeperPID(); pid != 0 || os.Geteuid() == 0 {
		return pid
	}
	return anyTracer
}

const (
	// keeperWait is how long a new keeper may take to keep.
	keeperWait = 10 * time.Second

	// keeperAgain is after how long a keeper that could not be started, or watched, is
	// tried again.
	keeperAgain = time.Second
)

// guardKeeper replaces a keeper that has died: a new one is given all that the old one
// held. It ends with the work.
func (d *daemon) guardKeeper() {
	if d.keeperPID() == 0 {
		return
	}
	d.world.working.Add(1)
	go func() { // ends with ctx
		defer d.world.working.Done()
		for {
			if died := d.insist(d.watchKeeper); !died {
				return
			}
			d.log.Printf("the keeper (pid %d) has died; a new one is started", d.keeperPID())
			if begun := d.insist(d.newKeeper); !begun {
				return
			}
			d.log.Printf("the keeper is pid %d from now on", d.keeperPID())
		}
	}()
}

// insist does something until it succeeds, and says once that it does not; false when the
// work has ended, or another process has taken over, before.
func (d *daemon) insist(do func() error) bool {
	for said := false; ; said = true {
		err := do()
		if err == nil {
			return true
		}
		if d.ctx.Err() != nil || errors.Is(err, errNoTurn) {
			return false
		}
		if !said {
			d.log.Printf("%v; nobody starts this supervisor again if it dies; that is tried again every %v", err, keeperAgain)
		}
		again := time.NewTimer(keeperAgain)
		select {
		case <-again.C:
		case <-d.ctx.Done():
			again.Stop()
			return false
		}
	}
}

// watchKeeper returns when the keeper has ended.
func (d *daemon) watchKeeper() error {
	died, err := handover.Watch(d.ctx, d.keeperPID())
	if err != nil {
		return err
	}
	select {
	case <-died:
		return nil
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
}

// errNoTurn is that another process is the supervisor by now, or that the work has ended.
var errNoTurn = errors.New("no keeper is needed any more")

// newKeeper starts a keeper, unless there is one after all. During an upgrade it waits:
// the keeper would not hear who is the supervisor then.
func (d *daemon) newKeeper() error {
	if !d.awaitTurn() {
		return errNoTurn
	}
	defer func() { <-d.turn }()
	if d.kept() {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(d.ctx, keeperWait, fmt.Errorf("it does not keep after %v", keeperWait))
	defer cancel()
	pid, err := handover.NewKeeper(ctx, string(d.home), "/proc/self/exe", d.store.Held(), arguments())
	if err != nil {
		return err
	}
	if err := d.store.Resend(); err != nil {
		d.log.Print(err)
	}
	d.keeper.Store(int64(pid))
	os.Setenv(handover.KeeperVariable, strconv.Itoa(pid)) // for a successor
	return nil
}

// kept reports whether the keeper lives.
func (d *daemon) kept() bool {
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	died, err := handover.Watch(ctx, d.keeperPID())
	if err != nil {
		return false
	}
	select {
	case <-died:
		return false
	default:
		return true
	}
}

// managed reports whether systemd runs us, or somebody who speaks as it does, and no keeper.
func (d *daemon) managed() bool {
	return d.keeperPID() == 0 && os.Getenv("NOTIFY_SOCKET") != ""
}

// takeMain makes systemd take a process that was started by an upgrade for its own child,
// or `systemctl stop` would not wait for us.
func (d *daemon) takeMain() {
	if d.successor == nil || !d.managed() {
		return
	}
	ctx, cancel := context.WithTimeout(d.ctx, commitWait)
	defer cancel()
	if err := d.successor.TakeMain(ctx, os.Getenv("NOTIFY_SOCKET"), d.store.Say, d.store.Barrier); err != nil {
		d.log.Print(err)
		if errors.Is(err, handover.ErrMainLost) {
			close(d.lost)
		}
	}
}

// unit is the systemd unit that starts this daemon again when it ends, "" where none does:
// the last name in its cgroup (systemd.unit(5)).
func (d *daemon) unit() string {
	if !d.managed() {
		return ""
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if name := path.Base(strings.TrimSpace(line)); strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}
