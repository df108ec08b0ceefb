package daemon

import (
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/listener"
)

// hearer is a loop that takes every fact and does nothing.
type hearer chan supervisor.Fact

func (h hearer) Tell(f supervisor.Fact) { h <- f }

// A supervisor that takes a thousand workers over has more to tell than a loop that does
// not run yet can take.
func TestWhatIsToldBeforeTheLoopRunsIsHeardInItsOrder(t *testing.T) {
	const early = 4096
	var w teller
	for n := range early {
		w.tell(supervisor.Noted{Text: fmt.Sprint(n)})
	}
	heard := make(hearer)
	go func() { // ends with what is heard
		w.begin(heard)
		w.tell(supervisor.Noted{Text: "last"})
	}()
	for n := range early {
		if f := <-heard; f != (supervisor.Noted{Text: fmt.Sprint(n)}) {
			t.Fatalf("%d: %+v", n, f)
		}
	}
	if f := <-heard; f != (supervisor.Noted{Text: "last"}) {
		t.Errorf("%+v", f)
	}
}

// A worker has called shutdown(2) on the shared socket while no supervisor ran: the next
// one hears of it before it has a loop.
func TestASocketThatWasShutDownWhileNobodyRan(t *testing.T) {
	leaktight(t)
	record := make(chan []listener.Record, 8)
	before := listener.New(listener.Config{Record: func(r []listener.Record) <-chan struct{} {
		record <- slices.Clone(r)
		return nil
	}})
	at := listener.Declared{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", port(t))}
	if err := before.Open("web", []listener.Declared{at}); err != nil {
		t.Fatal(err)
	}
	var sockets []listener.Record
	for len(sockets) == 0 {
		sockets = <-record
	}
	kept := -1
	before.Each("web", func(fd int) { kept, _ = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) })
	before.Close()
	if err := unix.Shutdown(kept, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}

	d := &daemon{home: home(shortDir(t)), log: log.New(io.Discard, "", 0), boot: "this", control: -1, exe: -1, ctx: t.Context()}
	d.records = handover.Dir(d.home.path("state"))
	var err error
	if d.store, err = handover.NewHolder("", map[string]int{sockets[0].Name(): kept}); err != nil {
		t.Fatal(err)
	}
	w, err := d.newWorld(leftovers{sockets: sockets, head: head{Loop: []byte("{}")}})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(hearer)
	go w.facts.begin(heard) // ends with what is heard
	if note, ok := (<-heard).(supervisor.Noted); !ok || note.App != "web" || !strings.Contains(note.Text, "shutdown(2)") {
		t.Errorf("%+v", note)
	}
	w.table.Close()
	w.logs.Close()
	w.hands.Close()
	w.working.Wait()
}
