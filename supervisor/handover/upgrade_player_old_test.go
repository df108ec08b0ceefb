package handover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/notify"
)

// upgrade lets another player take over. It exits in the end, or answers.
func (p *player) upgrade(o order, reply func(answer)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	at := func(step string) {
		if o.OffWhen == step {
			cancel()
		}
		if o.Old == step+":kill" {
			p.act(step, o.Old, nil)
		}
	}
	log, _ := os.OpenFile(filepath.Join(p.dir, "words"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	defer log.Close()
	calls := 0
	u := Upgrade{
		Binary: o.Binary, Args: []string{"-test.run=^TestUpgradePlayer$"}, Env: append(os.Environ(), o.Env...),
		Output: log, Lock: p.lock, Control: p.control, Schema: 1,
		State: func() ([]byte, error) {
			at("state")
			return fmt.Appendf(nil, `{"Generation":%d,"Padding":%q}`, p.generation, strings.Repeat("x", o.N)), nil
		},
		Held: func() map[string]int {
			at("held")
			held := maps.Clone(p.held)
			if calls++; calls == 1 && o.Text == "changes" {
				p.change()
			}
			return held
		},
		Quiesce: func(ctx context.Context) ([]byte, error) {
			at("quiet")
			p.control.SetDeadline(time.Unix(1, 0))
			p.accepting.Wait()
			if o.Old == "quiet:hang" {
				<-ctx.Done()
			}
			if o.Old == "quiet:error" {
				return nil, errors.New("somebody moves")
			}
			return []byte("the end"), nil
		},
		Resume: func() { p.accept() },
		Commit: func(pid int) error {
			at("ready")
			if err := p.commit(pid, o.Old); err != nil {
				return err
			}
			reply(answer{N: pid})
			at("mainpid")
			return nil
		},
		limits: limits{hello: o.Limits[0], adopt: o.Limits[1], freeze: o.Limits[2]},
	}
	err := u.Run(ctx)
	if err == nil {
		os.Exit(0)
	}
	var failed *UpgradeError
	if !errors.As(err, &failed) {
		panic(err)
	}
	reply(answer{Error: err.Error(), Words: failed.Words})
}

// commit names the new process to systemd, if there is one.
func (p *player) commit(pid int, wrong string) error {
	switch wrong {
	case "ready:error":
		return errors.New("nobody listens")
	case "ready:slay":
		if n, err := openNewcomer(pid); err == nil {
			n.kill()
			n.ended(guard)
			n.close()
		}
	}
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	m := manager{socket}
	return errors.Join(m.say(fmt.Sprint("MAINPID=", pid)), m.barrier(context.Background()))
}

// change lets a descriptor go, gives a name another one, and adds one.
func (p *player) change() {
	unix.Close(p.held["w0.o"])
	delete(p.held, "w0.o")
	var pipe [2]int
	unix.Pipe2(pipe[:], unix.O_CLOEXEC)
	unix.SetNonblock(pipe[0], true)
	p.held["w2.o"], p.held["w9.i"] = pipe[0], pipe[1]
}

// name tells systemd, if that started it, who is there.
func (p *player) name(s *Successor) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	m := manager{socket}
	if s == nil {
		return m.say("READY=1")
	}
	barrier := m.barrier
	switch os.Getenv(playerAlien) {
	case "stay":
		return nil
	case "die": // while the helper is the main process
		barrier = func(ctx context.Context) error {
			m.barrier(ctx)
			return unix.Kill(os.Getpid(), unix.SIGKILL)
		}
	}
	return s.TakeMain(context.Background(), socket, m.say, barrier)
}

// manager speaks to a NOTIFY_SOCKET.
type manager struct{ socket string }

func (m manager) say(lines ...string) error {
	conn, err := net.Dial("unixgram", m.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(strings.Join(lines, "\n")))
	return err
}

func (m manager) barrier(ctx context.Context) error {
	s, err := notify.NewSender(m.socket)
	if err != nil {
		return err
	}
	return s.Barrier(ctx)
}
