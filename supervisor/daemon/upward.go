package daemon

import (
	"fmt"
	"os"
	"strings"
	"time"

	"supervisor/ecosystem"
	"supervisor/supervisor"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/state"
	"supervisor/supervisor/systemd"
)

// speakUp begins to tell systemd how we are, if it runs us, or whoever runs our keeper. A
// successor waits with it until it is the main process: nobody else is heard.
func (d *daemon) speakUp(successor bool) {
	say := d.store.Say
	if !d.managed() {
		if os.Getenv(handover.UpwardVariable) == "" {
			return
		}
		say = d.store.SayUpward
	}
	d.upward = systemd.NewUpward(d.ctx, systemd.Manager{
		Say: say, Failed: func(err error) { d.log.Print(err) },
		Watchdog: systemd.WatchdogOf(os.Getenv), Ready: successor, Quiet: successor,
	})
}

// sayReady says to the keeper that what it holds has come to somebody. Whoever waits for the
// service waits for more than that at a first start: for each app (see begun).
func (d *daemon) sayReady() {
	if !d.managed() {
		if err := d.store.Say("READY=1"); err != nil {
			d.log.Print(err)
		}
	}
	if d.upward == nil {
		return
	}
	if d.restored {
		d.upward.Ready(d.status())
	}
	d.upward.Watch(d.loop.Barrier)
	go d.tellStatus() // ends with the loop
}

// begun is called when each app of the file has been online, or has failed its first start.
func (d *daemon) begun() {
	if d.restored {
		apps, _ := d.backend.chosen(d.ctx, nil)
		inTurn(make([][]int, len(apps)), func(i int) {
			d.backend.tell(d.ctx, supervisor.Await{Name: apps[i].Name})
		})
	} else {
		d.upward.Ready(d.status())
	}
	for _, addr := range d.world.table.CloseUnclaimed() {
		d.log.Printf("%s was kept for this start, and nobody serves it: closed", addr)
	}
}

// statusEvery is how often STATUS= may change.
const statusEvery = time.Second

// tellStatus says how the apps are, whenever that changes.
func (d *daemon) tellStatus() {
	events, cancel := d.loop.Events()
	defer cancel()
	pause := time.NewTimer(statusEvery)
	defer pause.Stop()
	for e := range events {
		if e.Kind == state.EventMessage || e.Kind == state.EventNote {
			continue
		}
		pause.Reset(statusEvery)
		for waiting := true; waiting; {
			select {
			case _, more := <-events:
				if !more {
					return
				}
			case <-pause.C:
				waiting = false
			}
		}
		d.upward.Status(d.status())
	}
}

// status is how the apps are, in one line.
func (d *daemon) status() string {
	snap, err := d.loop.Snapshot(d.ctx)
	if err != nil {
		return "ending"
	}
	return statusOf(snap)
}

// statusOf counts what is wanted up, and names what is not online.
func statusOf(snap state.Snapshot) string {
	apps, workers := 0, 0
	var missing []string
	for _, a := range snap.Apps {
		for _, w := range a.Workers {
			if w.Ready {
				workers++
			}
		}
		if a.Want == state.Down {
			continue
		}
		apps++
		if a.Status != state.AppOnline && a.Status != state.AppReloading {
			missing = append(missing, a.Name+" ("+a.Status+")")
		}
	}
	text := fmt.Sprintf("%s, %s online", counted(apps, "app"), counted(workers, "worker"))
	if len(missing) > 0 {
		text += "; not online: " + strings.Join(missing, ", ")
	}
	return text
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// stopMargin is what the end may take beside the workers'.
const stopMargin = 10 * time.Second

// sayStopping says how long the end may take, whatever the unit says: the file may have
// changed since that was written.
func (d *daemon) sayStopping() {
	if d.upward == nil {
		return
	}
	within := stopMargin
	if apps, failed := d.backend.chosen(d.ctx, nil); failed == nil {
		within += ecosystem.StopTime(specsOf(apps))
	}
	d.upward.Stopping(within)
}

// bequeath leaves to the next start what it is to find in the store: the sockets, with
// whoever waits in them, the control socket among them. All else is removed.
func (d *daemon) bequeath() {
	d.world.table.Bequeath()
	for name := range d.store.Held() {
		switch {
		case name == controlName, name == handsName, name == handover.ExeName, strings.HasPrefix(name, "l"):
		default:
			d.store.Remove(name)
		}
	}
}

// succeedInstalled puts our own program in the place of the copy that belongs to the unit:
// that one is started after a crash.
func (d *daemon) succeedInstalled() {
	if d.successor == nil || !d.managed() {
		return
	}
	path := os.Getenv(systemd.InstalledVariable)
	if path == "" {
		d.log.Print("the unit was not made by `supervisor startup`: after a crash it starts the program that it names, whatever version that is")
		return
	}
	if err := systemd.InstallSelf(path); err != nil {
		d.log.Printf("%v; after a crash the unit starts the former program", err)
	}
}
