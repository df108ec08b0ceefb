package daemon

import (
	"context"
	"errors"
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

// guardKeeper replaces a keeper that has died, or is dead when we begin: a new one is given
// all that the old one held. It ends with the work.
func (d *daemon) guardKeeper() {
	if d.keeperPID() == 0 {
		return
	}
	died, err := handover.Watch(d.ctx, d.keeperPID())
	d.world.working.Add(1)
	go func() { // ends with ctx
		defer d.world.working.Done()
		if err != nil {
			d.log.Printf("%v; a new one is started", err)
			died = d.newKeeper()
		}
		for {
			select {
			case <-died:
			case <-d.ctx.Done():
				return
			}
			d.log.Printf("the keeper (pid %d) has died; a new one is started", d.keeperPID())
			died = d.newKeeper()
		}
	}()
}

// How long it takes to the next attempt to start a keeper: the first time, and at most.
const (
	keeperPause    = time.Second
	keeperPauseMax = time.Minute
)

// newKeeper starts a keeper, sooner or later, and returns what tells its end. It is nil
// when ctx has ended.
func (d *daemon) newKeeper() <-chan struct{} {
	for pause := keeperPause; ; pause = min(2*pause, keeperPauseMax) {
		died, err := d.startKeeper()
		if err == nil {
			return died
		}
		d.log.Printf("%v; nobody starts this supervisor again if it dies (tried again in %v)", err, pause)
		select {
		case <-time.After(pause):
		case <-d.ctx.Done():
			return nil
		}
	}
}

func (d *daemon) startKeeper() (died <-chan struct{}, err error) {
	pid, err := handover.NewKeeper(d.ctx, string(d.home), "/proc/self/exe", d.store.Held(), arguments())
	if err != nil {
		return nil, err
	}
	d.keeper.Store(int64(pid))
	os.Setenv(handover.KeeperVariable, strconv.Itoa(pid)) // for a successor
	if err := d.store.Resend(); err != nil {
		d.log.Print(err)
	}
	return handover.Watch(d.ctx, pid)
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
