package listener_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// message is what daemon and keeper say to each other, with descriptors.
type message struct {
	Op        string
	Names     []string
	Records   []listener.Record
	Worker    listener.Worker
	Listening listener.Listening
	Declared  []listener.Declared
	Err       string
}

func say(sock int, m message, fds ...int) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(sock, b, rights, nil, unix.MSG_NOSIGNAL)
}

func hear(sock int) (m message, fds []int, err error) {
	b, oob := make([]byte, 1<<19), make([]byte, unix.CmsgSpace(4*250))
	var n, oobn int
	for {
		n, oobn, _, _, err = unix.Recvmsg(sock, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil || n <= 0 {
		return m, nil, errors.Join(err, os.ErrClosed)
	}
	if oobn > 0 {
		rights, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return m, nil, err
		}
		if fds, err = unix.ParseUnixRights(&rights[0]); err != nil {
			return m, nil, err
		}
	}
	return m, fds, json.Unmarshal(b[:n], &m)
}

// remote is the daemon's end.
type remote struct {
	sock int
	mu   sync.Mutex
}

func (r *remote) say(m message, fds ...int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return say(r.sock, m, fds...)
}

func (r *remote) Push(name string, fd int) error {
	return r.say(message{Op: "push", Names: []string{name}}, fd)
}
func (r *remote) Remove(name string) error {
	return r.say(message{Op: "remove", Names: []string{name}})
}

// daemon is the test binary as a daemon that is about to be killed.
func daemon() error {
	r := &remote{sock: 3}
	unix.CloseOnExec(r.sock)
	inherited := map[string]int{}
	hello, fds, err := hear(r.sock)
	for ; hello.Op == "stored"; hello, fds, err = hear(r.sock) {
		for i, name := range hello.Names {
			inherited[name] = fds[i]
		}
	}
	if err != nil {
		return err
	}
	hands, err := listener.NewHands(fds[0])
	if err != nil {
		return err
	}
	type entry struct {
		all      []listener.Record
		recorded chan struct{}
	}
	entries := make(chan entry, 1024)
	go func() { // ends with the process
		for e := range entries {
			r.say(message{Op: "record", Records: e.all})
			close(e.recorded)
		}
	}()
	table := listener.New(listener.Config{
		Hands: hands, Store: r,
		Facts: func(f listener.Fact) {
			if f, ok := f.(listener.Listening); ok {
				r.say(message{Op: "listening", Listening: f})
			}
		},
		Record: func(all []listener.Record) <-chan struct{} {
			recorded := make(chan struct{})
			entries <- entry{all, recorded}
			return recorded
		},
	})
	lost, err := table.Adopt(hello.Records, func(name string) (int, bool) {
		fd, ok := inherited[name]
		delete(inherited, name)
		return fd, ok
	})
	err = errors.Join(err, complain(lost))
	for op := hello; ; {
		did := message{Op: "did"}
		if err != nil {
			did.Err = err.Error()
		}
		if err := r.say(did); err != nil {
			return err
		}
		if op, fds, err = hear(r.sock); err != nil {
			return err
		}
		err = obey(table, hands, op, fds)
	}
}

// obey does what a daemon is told.
func obey(table *listener.Table, hands *listener.Hands, op message, fds []int) error {
	switch op.Op {
	case "attach":
		if err := hands.Use(op.Worker.Hand); err != nil {
			return err
		}
		return table.Attach(op.Worker, fds[0])
	case "sweep":
		table.Sweep()
	case "admit":
		table.Admit(op.Worker.ID)
	case "withdraw":
		table.Withdraw(op.Worker.ID)
	case "detach":
		table.Detach(op.Worker.ID)
		hands.Free(op.Worker.Hand)
	case "open":
		return table.Open(op.Worker.App, op.Declared)
	case "files":
		_, err := table.Files(op.Worker, op.Declared)
		return err
	default:
		return fmt.Errorf("no operation %q", op.Op)
	}
	return nil
}
