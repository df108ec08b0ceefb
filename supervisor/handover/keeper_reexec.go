package handover

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// carriedVariable is the number of the memory file in which a keeper that executes itself
// anew finds what it was. It is a file and not the variable, which has a length limit.
const carriedVariable = "SUPERVISOR_KEEPER_STATE"

// carriedSchema is the version of carried that is written; the one before is read too.
const carriedSchema = 1

// carried is a keeper from one program to the next in the same process: all descriptors
// keep their numbers.
type carried struct {
	Schema   int           `json:"schema"`
	Main     int           `json:"main"`
	PidFD    int           `json:"pidfd"`
	Child    bool          `json:"child"`
	Ready    bool          `json:"ready"`
	Ever     bool          `json:"ever"`
	Delay    time.Duration `json:"delay"`
	End      *int          `json:"end,omitempty"`
	Stop     int           `json:"stop,omitempty"`
	Pending  []int         `json:"pending,omitempty"`
	OwnLog   bool          `json:"own_log"`
	Lock     int           `json:"lock"`
	Socket   int           `json:"socket"`
	ExitsIn  int           `json:"exits_in"`
	ExitsOut int           `json:"exits_out"`
	Store    []namedFD     `json:"store"`
	Own      []namedFD     `json:"own,omitempty"`
	Heard    bool          `json:"heard,omitempty"`
}

// executeAnew replaces the keeper's program by the stored exe, in the same process. It
// returns only if that fails, and then nothing has changed.
func (k *keeper) executeAnew() {
	if k.main == nil {
		return // asked for by one that has ended since
	}
	k.takeSignals()
	c := k.carry()
	state, err := c.write()
	if err != nil {
		k.say("cannot execute itself anew: %v", err)
		return
	}
	k.trimmer.End()
	path := "/proc/self/exe"
	if fd := k.store.fd(ExeName); fd >= 0 {
		path = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	env := append(withoutHolder(os.Environ()), carriedVariable+"="+strconv.Itoa(state))
	fds := append(c.descriptors(), state)
	setCloseOnExec(fds, false)
	// A signal that comes while there is no handler waits.
	maskSignals(unix.SIG_BLOCK)
	err = syscall.Exec(path, k.Args(), env)
	maskSignals(unix.SIG_UNBLOCK)
	setCloseOnExec(fds, true)
	unix.Close(state)
	k.trimmer.Touched()
	k.say("cannot execute %s anew: %v", path, err)
}

// takeSignals deals with every signal that has come so far. One that comes between this
// and exec, some 0.1 ms, is lost with this program: it can't be masked on the threads of
// Go's runtime.
func (k *keeper) takeSignals() {
	// Stop waits until what is on its way has arrived, on any channel.
	flush := make(chan os.Signal, 1)
	signal.Notify(flush, unix.SIGWINCH)
	signal.Stop(flush)
	for len(k.signals) > 0 {
		k.forward(<-k.signals)
	}
}

func (k *keeper) carry() carried {
	c := carried{
		Schema: carriedSchema, Main: k.main.pid, PidFD: k.main.pidfd, Child: k.main.child,
		Ready: k.main.ready, Ever: k.ever, Delay: k.delay, End: k.end, Stop: int(k.stop), OwnLog: k.out.own,
		Lock: k.lock, Socket: k.socket.fd, ExitsIn: k.exits.w, ExitsOut: k.exits.r, Store: k.store.all(),
		Own: k.own, Heard: k.heard,
	}
	for sig := range k.pending {
		c.Pending = append(c.Pending, int(sig.(unix.Signal)))
	}
	return c
}

func (c carried) descriptors() []int {
	fds := []int{c.PidFD, c.Lock, c.Socket, c.ExitsIn, c.ExitsOut}
	for _, h := range slices.Concat(c.Store, c.Own) {
		fds = append(fds, h.FD)
	}
	return fds
}

// write puts c into a memory file.
func (c carried) write() (fd int, err error) {
	data, err := json.Marshal(c)
	if err != nil {
		return -1, err
	}
	if fd, err = unix.MemfdCreate("keeper", unix.MFD_CLOEXEC); err != nil {
		return -1, err
	}
	if err = writeAll(fd, [][]byte{data}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// resume makes k what the program before it was; false when there was none.
func (k *keeper) resume() (bool, error) {
	given := os.Getenv(carriedVariable)
	if given == "" {
		return false, nil
	}
	os.Unsetenv(carriedVariable)
	fd, err := strconv.Atoi(given)
	if err != nil || fd < firstFD {
		return false, fmt.Errorf("cannot go on: %s=%q", carriedVariable, given)
	}
	unix.Seek(fd, 0, io.SeekStart)
	data, err := readAll(fd, MaxState)
	unix.Close(fd)
	var c carried
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err == nil && (c.Schema < carriedSchema-1 || c.Schema > carriedSchema || c.Main < 1) {
		err = fmt.Errorf("schema %d", c.Schema)
	}
	if err != nil {
		return false, fmt.Errorf("cannot go on as the keeper was: %w", err)
	}
	return true, k.become(c)
}

func (k *keeper) become(c carried) (err error) {
	setCloseOnExec(c.descriptors(), true) // as begin has done since 5.11
	k.ReadyFD, k.UpFD = 0, 0              // used up
	k.lock, k.exits = c.Lock, exitPipe{c.ExitsOut, c.ExitsIn}
	k.ever, k.delay, k.end, k.stop, k.out.own = c.Ever, c.Delay, c.End, unix.Signal(c.Stop), c.OwnLog
	k.own, k.heard = c.Own, c.Heard
	for _, n := range c.Pending {
		k.pending[unix.Signal(n)] = true
	}
	for _, h := range c.Store {
		k.store.put(h.Name, h.FD)
	}
	k.setMain(&mainProcess{pid: c.Main, pidfd: c.PidFD, child: c.Child, ready: c.Ready})
	k.socket, err = adoptNotify(k.socketPath(), c.Socket)
	k.say("goes on with another program; the daemon is pid %d", c.Main)
	return err
}

func setCloseOnExec(fds []int, on bool) {
	flag := 0
	if on {
		flag = unix.FD_CLOEXEC
	}
	for _, fd := range fds {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
	}
}

// unblockSignals undoes the mask that executeAnew left to this program, on the thread of
// the caller, who is locked to it. Other threads have it too, where it does no harm: Go
// takes a signal on whichever thread it is delivered to.
func unblockSignals() { maskSignals(unix.SIG_UNBLOCK) }

func maskSignals(how int) {
	var set unix.Sigset_t
	for _, sig := range append(forwarded(), unix.SIGCHLD) {
		n := uint(sig.(unix.Signal)) - 1
		set.Val[n/64] |= 1 << (n % 64)
	}
	unix.PthreadSigmask(how, &set, nil)
}
