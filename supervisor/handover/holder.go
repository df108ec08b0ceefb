package handover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
	"supervisor/supervisor/notify"
)

const (
	// sendTimeout is how long a full queue of the holder is waited for.
	sendTimeout = 2 * time.Second

	// maxName is the longest name of a descriptor, in bytes (FDNAME_MAX of systemd).
	maxName = 255

	// maxNames bounds the names of all that is stored, in bytes with a colon each:
	// LISTEN_FDNAMES is one string of the environment, for which the kernel has a limit
	// (MAX_ARG_STRLEN, 128 KiB, execve(2)). Beyond it no daemon could be started.
	maxNames = 120 << 10

	// replacing marks the removal of a name that is pushed again at once. systemd, which
	// would keep both, removes the old; the keeper, which replaces, ignores the removal, so
	// that with it there is no moment at which the name is not held.
	replacing = "X_REPLACING"

	// passOn marks what is not the keeper's, but for whoever runs it.
	passOn = "X_UPWARD"
)

// Holder is the daemon's end of whoever holds its descriptors: systemd, or the keeper.
// It keeps the numbers of all that is held (not duplicates), so that an upgrade and a new
// keeper can be given the same.
//
// Any goroutine may use it; what concerns one name comes from one goroutine at a time.
// A holder that is away (a keeper that has just died) is no error for Push and Remove:
// they are told to the next one by Resend.
type Holder struct {
	sender *notify.Sender // nil: nobody holds

	mu        sync.Mutex // a leaf: nothing is called under it
	inherited map[string]int
	held      map[string]int
	unsent    map[string]bool
	names     int // bytes of the names in both, with a colon each
	limit     int
}

var _ Store = (*Holder)(nil)

// NewHolder speaks to notifySocket, the value of NOTIFY_SOCKET; "" is nobody, and then
// only the numbers are kept. inherited are the descriptors that came back (Inherited),
// which it takes over. The error is an address that is none (notify.ErrAddress).
func NewHolder(notifySocket string, inherited map[string]int) (*Holder, error) {
	h := &Holder{inherited: maps.Clone(inherited), held: map[string]int{}, unsent: map[string]bool{}}
	for name := range inherited {
		h.names += len(name) + 1
	}
	if notifySocket == "" {
		return h, nil
	}
	var err error
	h.sender, err = notify.NewSender(notifySocket)
	return h, err
}

// Limit makes Push refuse more than n descriptors; 0 is no limit. systemd drops what
// exceeds FileDescriptorStoreMax= and says nothing.
func (h *Holder) Limit(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = n
}

// Push gives the holder a duplicate of fd under name, which replaces what has that name.
// fd stays open, under its number, until Remove.
//
// Errors: a name that is none, a limit, a holder that does not take it for 2 s. Then
// nothing is held under that name.
func (h *Holder) Push(name string, fd int) error {
	if !validName(name) {
		return fmt.Errorf("cannot store %q: not a name of 1 to %d printable characters without a colon", name, maxName)
	}
	inherited, replaced, err := h.enter(name, fd)
	if err != nil {
		return err
	}
	if inherited >= 0 {
		unix.Close(inherited)
	}
	if replaced {
		err = h.send(name, notify.Message{FDStoreRemove: true, FDName: name, Other: []notify.Var{{Name: replacing, Value: "1"}}})
	}
	if err == nil {
		err = h.send(name, store(name), fd)
	}
	if err != nil {
		h.leave(name)
		return fmt.Errorf("cannot store %s: %w", name, err)
	}
	fault.Point("store.pushed")
	return nil
}

// store is what says that a descriptor is to be held. A hang-up must not end that, or a
// pipe would be gone with its last words in it.
func store(name string) notify.Message {
	return notify.Message{FDStore: true, FDNoPoll: true, FDName: name}
}

// enter takes name into the book, and tells if it was there; an inherited descriptor that
// nobody has taken is the caller's to close then, else -1.
func (h *Holder) enter(name string, fd int) (inherited int, replaced bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, replaced = h.held[name]
	inherited, left := h.inherited[name]
	if !left {
		inherited = -1
	}
	replaced = replaced || left
	if n := len(h.held) + len(h.inherited); h.limit > 0 && !replaced && n >= h.limit {
		return -1, false, fmt.Errorf("cannot store %s: the holder takes no more than %d descriptors (FileDescriptorStoreMax=)", name, h.limit)
	}
	if !replaced {
		if h.names+len(name)+1 > maxNames {
			return -1, false, fmt.Errorf("cannot store %s: the names of what is stored would exceed %d bytes", name, maxNames)
		}
		h.names += len(name) + 1
	}
	delete(h.inherited, name)
	h.held[name] = fd
	return inherited, replaced, nil
}

func (h *Holder) leave(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, held := h.held[name]; held {
		delete(h.held, name)
		h.names -= len(name) + 1
	}
}

// Remove makes the holder close what it holds under name; the caller's own stays open.
// None is no error.
func (h *Holder) Remove(name string) error {
	if !validName(name) {
		return fmt.Errorf("cannot remove %q from the store: not a name", name)
	}
	h.leave(name)
	if err := h.send(name, notify.Message{FDStoreRemove: true, FDName: name}); err != nil {
		return fmt.Errorf("cannot remove %s from the store: %w", name, err)
	}
	fault.Point("store.removed")
	return nil
}

// send says m, which concerns name. A holder that is away hears it later.
func (h *Holder) send(name string, m notify.Message, fds ...int) error {
	if h.sender == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), sendTimeout, errBusy)
	defer cancel()
	err := h.sender.Send(ctx, m, fds...)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ECONNRESET) {
		h.mu.Lock()
		h.unsent[name] = true
		h.mu.Unlock()
		return nil
	}
	return err
}

var errBusy = fmt.Errorf("it has not taken a message for %v", sendTimeout)

func (h *Holder) lookUp(name string) (fd int, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fd, held = h.held[name]
	return fd, held
}

// Resend tells a new holder of the names that the old one was not there to hear about.
func (h *Holder) Resend() error {
	h.mu.Lock()
	names := slices.Sorted(maps.Keys(h.unsent))
	clear(h.unsent)
	h.mu.Unlock()
	var errs []error
	for _, name := range names {
		for told := false; !told; {
			fd, held := h.lookUp(name)
			var err error
			if held {
				err = h.send(name, store(name), fd)
			} else {
				err = h.send(name, notify.Message{FDStoreRemove: true, FDName: name})
			}
			// Whoever has the name may have let it go, or replaced it, and said so before us.
			if now, still := h.lookUp(name); now == fd && still == held {
				told = true
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Take gives an inherited descriptor to the caller, whose it is from now on. It stays
// stored until Remove.
func (h *Holder) Take(name string) (fd int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if fd, ok = h.inherited[name]; ok {
		delete(h.inherited, name)
		h.held[name] = fd
	}
	return fd, ok
}

// Sweep closes the inherited descriptors that nobody has taken, here and in the store,
// and returns their names.
func (h *Holder) Sweep() []string {
	h.mu.Lock()
	left := h.inherited
	h.inherited = nil
	names := slices.Sorted(maps.Keys(left))
	for _, name := range names {
		h.names -= len(name) + 1
	}
	h.mu.Unlock()
	for _, name := range names {
		unix.Close(left[name])
		h.Remove(name) // one that stays is swept by the next daemon
	}
	return names
}

// Held is a copy of all that is stored: pushed or taken, and not removed.
func (h *Holder) Held() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.held)
}

// Say sends assignments as one datagram: READY=1, STATUS=..., MAINPID=..., and to a keeper
// X_END=STATUS (it ends with that status when the daemon has ended) and KEEPER_REEXEC=1
// (it executes the stored exe). A holder that is away is an error here.
func (h *Holder) Say(lines ...string) error {
	if h.sender == nil {
		return nil
	}
	m, err := notify.Parse([]byte(strings.Join(lines, "\n")))
	if err != nil {
		return fmt.Errorf("cannot say %q: %w", lines, err)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), sendTimeout, errBusy)
	defer cancel()
	return h.sender.Send(ctx, m)
}

// SayUpward has the keeper say to whoever runs it what is said of the service
// (KeeperOptions.Upward).
func (h *Holder) SayUpward(lines ...string) error {
	return h.Say(append(lines[:len(lines):len(lines)], passOn+"=1")...)
}

// Barrier returns when the holder has dealt with all that was said before (BARRIER=1,
// sd_notify_barrier(3)), or with ctx's error. A holder that has died counts as one that
// has.
func (h *Holder) Barrier(ctx context.Context) error {
	if h.sender == nil {
		return nil
	}
	return h.sender.Barrier(ctx)
}

// validName is fdname_is_valid of systemd: printable ASCII without a colon.
func validName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return true
}
