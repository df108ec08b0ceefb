package listener

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// notification is struct seccomp_notif (seccomp_unotify(2)). PID is a thread's
// id, not a process's.
type notification struct {
	ID    uint64
	PID   uint32
	Flags uint32
	NR    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

// addFD is struct seccomp_notif_addfd.
type addFD struct {
	ID         uint64
	Flags      uint32
	SrcFD      uint32
	NewFD      uint32
	NewFDFlags uint32
}

// handSize is the room for one notification in hand; the kernel's struct has
// 80 bytes today. What is behind it is ours.
const (
	handSize = 128
	handNote = handSize - 8
)

// hand is where the kernel writes the one notification that a worker's reader
// is working on. It is a type of its own because it may lie in memory that
// outlives this process: a notification that was received is delivered to no
// other reader, and only its id, found here, lets a successor answer it. An
// id of 0 means that none is in hand.
type hand struct{ mem *[handSize]byte }

func newHand() hand { return hand{new([handSize]byte)} }

// full tells if a notification is in hand.
func (h hand) full() bool { return h.notification().ID != 0 }

// note is the inode of the socket that we made in the stead of the worker's and
// are about to put over it: whoever finds it there knows that it is ours.
func (h hand) note() *uint64 { return (*uint64)(unsafe.Pointer(&h.mem[handNote])) }

func (h hand) notification() *notification { return (*notification)(unsafe.Pointer(h.mem)) }

// clear forgets the notification; the kernel wants zeroes before it receives.
func (h hand) clear() { *h.mem = [handSize]byte{} }

// receive takes the next notification of the filter behind fd. It may block
// if none is there. ENOENT: the caller was killed or interrupted meanwhile.
func (h hand) receive(fd int) error {
	h.clear()
	for {
		err := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(h.mem))
		if err != unix.EINTR {
			return err
		}
	}
}

// valid tells whether the notification still waits: only then is what was
// read by its thread's id known to be of that thread.
func (h hand) valid(fd int) bool {
	id := h.notification().ID
	return ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == nil
}

// answer is what the system call does in the worker: go on by itself, or
// return 0 or an error. later: nobody answers now, and what is in hand stays there.
type answer struct {
	proceed bool
	errno   unix.Errno
	later   bool
}

// proceed lets the kernel execute the call as the program made it.
var proceed = answer{proceed: true}

// send answers the notification and forgets it. A thread that is gone
// (ENOENT) needs no answer, and there is no other error. An id that is answered is
// not valid any more, so whoever finds it knows.
func (h hand) send(fd int, a answer) {
	r := response{ID: h.notification().ID, Error: -int32(a.errno)}
	if a.proceed {
		r.Flags, r.Error = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE, 0
	}
	_ = ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	fault.Point("notify.answered")
	h.clear()
}

// put makes target a descriptor of ours in the process of the notification,
// closing what it was, close-on-exec if asked (SECCOMP_IOCTL_NOTIF_ADDFD).
func (h hand) put(fd, ours, target int, closeOnExec bool) error {
	a := addFD{ID: h.notification().ID, Flags: unix.SECCOMP_ADDFD_FLAG_SETFD, SrcFD: uint32(ours), NewFD: uint32(target)}
	if closeOnExec {
		a.NewFDFlags = unix.O_CLOEXEC
	}
	return ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
