package usage

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// States of tcp_states.h in which a client can still lose an answer: it waits
// for one, or has closed its sending half and reads on.
const (
	tcpEstablished = 1
	tcpCloseWait   = 8

	openStates = 1<<tcpEstablished | 1<<tcpCloseWait
)

// unixConnected is SS_CONNECTED of linux/net.h, unixStream SOCK_STREAM.
const (
	unixConnected = 3
	unixStream    = 1
)

// Look is one look at the open tcp connections through some listeners, whoever has
// them. The kernel walks its whole table of sockets for it, which on a busy machine
// takes milliseconds, so one look serves every worker that is asked for at the time.
type Look struct {
	known  bool // else each worker's own /proc/PID/net is read
	byPort map[uint16][]connection
}

type connection struct {
	local netip.AddrPort
	inode uint64 // 0: nobody has accepted it
}

// LookAt looks at the connections through locals.
func LookAt(locals []Local) Look {
	ports := make(map[uint16]bool)
	for _, l := range locals {
		if l.Path == "" {
			ports[l.Addr.Port()] = true
		}
	}
	l := Look{byPort: make(map[uint16][]connection)}
	l.known = markByDiag(locals, func(addr netip.AddrPort, inode uint64) {
		if port := addr.Port(); ports[port] {
			l.byPort[port] = append(l.byPort[port], connection{addr, inode})
		}
	}) == nil
	return l
}

// Connections counts the open connections that the process tree of pid has
// accepted through the given listeners: established tcp and unix stream
// sockets whose local address is one of theirs. Each counts once, whichever
// processes share it. It is meant for the moment before a signal cuts them;
// idle keep-alive connections are among them.
//
// A tree of which nothing lives has none. The error says that the number is
// not known, for instance EACCES where a worker of another user is hidden.
func Connections(pid int, locals []Local) (int, error) {
	return LookAt(locals).Connections(pid, locals)
}

// Connections is the function of that name, of the connections that were there when
// the look was taken; locals are among those that it was taken for.
func (l Look) Connections(pid int, locals []Local) (int, error) {
	if l.idle(pid, locals) {
		return 0, nil
	}
	family, err := readFamily(pid)
	if err != nil {
		return 0, err
	}
	inodes := make(map[uint64]bool)
	reader := 0 // a living process, for its view of the network
	for _, p := range family {
		if p.state == stateZombie {
			continue
		}
		found, err := socketInodes(p.pid, inodes)
		if err != nil {
			return 0, err
		}
		if found && reader == 0 {
			reader = p.pid
		}
	}
	if reader == 0 || len(inodes) == 0 {
		return 0, nil
	}
	open := make(map[uint64]bool)
	if err := l.markTCP(reader, locals, inodes, open); err != nil {
		return 0, err
	}
	if err := markUnix(reader, locals, inodes, open); err != nil {
		return 0, err
	}
	return len(open), nil
}

// idle says that nobody at all has a connection through the listeners, which is
// known without a look at any process: most workers of a large site are told to
// stop while nobody asks them. False also means that it is not known.
func (l Look) idle(pid int, locals []Local) bool {
	for _, local := range locals {
		if local.Path != "" {
			return false
		}
	}
	idle := true
	l.each(locals, func(connection) { idle = false })
	return idle && l.known && sameNetwork(pid)
}

// each calls f for the connections through locals.
func (l Look) each(locals []Local, f func(connection)) {
	seen := make(map[uint16]bool)
	for _, local := range locals {
		port := local.Addr.Port()
		if local.Path != "" || seen[port] {
			continue
		}
		seen[port] = true
		for _, c := range l.byPort[port] {
			if covered(locals, c.local) {
				f(c)
			}
		}
	}
}

// socketInodes adds the sockets that a process has open; false if it is gone.
func socketInodes(pid int, into map[uint64]bool) (bool, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/fd"
	dir, err := os.Open(path)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot list the open files of process %d: %w", pid, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil && !gone(err) {
		return false, fmt.Errorf("cannot list the open files of process %d: %w", pid, err)
	}
	buf := make([]byte, 64)
	for _, name := range names {
		n, err := unix.Readlink(path+"/"+name, buf)
		if err != nil {
			continue // closed meanwhile
		}
		text, ok := bytes.CutPrefix(buf[:n], []byte("socket:["))
		if !ok {
			continue
		}
		if ino, err := strconv.ParseUint(string(bytes.TrimSuffix(text, []byte("]"))), 10, 64); err == nil {
			into[ino] = true
		}
	}
	return true, nil
}

// gone says that an error is the end of the process that was looked at.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}

// markTCP adds to open those of inodes that are tcp connections through one
// of locals. The kernel was asked for the two states alone (sock_diag), since
// /proc/net/tcp also prints tens of thousands of closed ones on a busy
// machine; that file is the fallback for a worker in a network namespace of
// its own, and where netlink is refused.
func (l Look) markTCP(pid int, locals []Local, inodes, open map[uint64]bool) error {
	tcp := false
	for _, local := range locals {
		tcp = tcp || local.Path == ""
	}
	if !tcp {
		return nil
	}
	mark := func(c connection) {
		if inodes[c.inode] {
			open[c.inode] = true
		}
	}
	if l.known && sameNetwork(pid) {
		l.each(locals, mark)
		return nil
	}
	for _, file := range []string{"tcp", "tcp6"} {
		if err := eachLine(pid, file, func(line []byte) {
			if addr, inode, ok := parseTCPLine(line); ok && covered(locals, addr) {
				mark(connection{addr, inode})
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// markByDiag reports the open tcp connections of our network namespace that may
// have come through one of locals, and perhaps others. The kernel walks a large
// table for each question, so only what is needed is asked: a listener accepts
// connections of its own family (an IPv4 one through a dual-stack listener is one
// of AF_INET6).
func markByDiag(locals []Local, mark func(netip.AddrPort, uint64)) error {
	ports := make(map[uint8]uint16) // by family; 0: several
	for _, l := range locals {
		if l.Path != "" {
			continue
		}
		family := uint8(unix.AF_INET6)
		if l.Addr.Addr().Is4() {
			family = unix.AF_INET
		}
		if port, ok := ports[family]; ok && port != l.Addr.Port() {
			ports[family] = 0
		} else {
			ports[family] = l.Addr.Port()
		}
	}
	for family, port := range ports {
		for _, protocol := range []int{unix.IPPROTO_TCP, unix.IPPROTO_MPTCP} {
			q := diagQuery{family: family, protocol: protocol, states: openStates, port: port}
			err := q.each(func(s diagSocket) { mark(s.local, uint64(s.inode)) })
			// Without MPTCP in the kernel there is none to count.
			if err != nil && protocol == unix.IPPROTO_TCP {
				return err
			}
		}
	}
	return nil
}

// covered says whether any listener accepts connections to addr.
func covered(locals []Local, addr netip.AddrPort) bool {
	for _, l := range locals {
		if l.covers(addr) {
			return true
		}
	}
	return false
}

// sameNetwork says whether a process is in our network namespace.
func sameNetwork(pid int) bool {
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return false
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	return err == nil && ours == theirs
}

// markUnix adds to open those of inodes that are stream connections through a
// unix listener of locals: the accepted end carries the listener's name.
func markUnix(pid int, locals []Local, inodes, open map[uint64]bool) error {
	paths := make(map[string]bool)
	for _, l := range locals {
		if l.Path != "" {
			paths[l.Path] = true
		}
	}
	if len(paths) == 0 {
		return nil
	}
	return eachLine(pid, "unix", func(line []byte) {
		if path, inode, ok := parseUnixLine(line); ok && inodes[inode] && paths[path] {
			open[inode] = true
		}
	})
}

// eachLine calls f for the lines of a file of /proc/PID/net, the header
// included. A process that is gone has none.
func eachLine(pid int, name string, f func([]byte)) error {
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/net/" + name)
	if gone(err) {
		return nil // the process ended, or the kernel has no such protocol
	}
	if err != nil {
		return fmt.Errorf("cannot list %s connections: %w", name, err)
	}
	defer file.Close()
	sc := bufio.NewScanner(file)
	for sc.Scan() {
		f(sc.Bytes())
	}
	if err := sc.Err(); err != nil && !gone(err) {
		return fmt.Errorf("cannot list %s connections: %w", name, err)
	}
	return nil
}

// parseTCPLine reads a line of /proc/net/tcp or tcp6 (proc_pid_net(5)); false
// for one that is no open connection.
func parseTCPLine(line []byte) (netip.AddrPort, uint64, bool) {
	var none netip.AddrPort
	f := strings.Fields(string(line))
	if len(f) < 10 {
		return none, 0, false
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	if err != nil || state > 31 || 1<<state&openStates == 0 {
		return none, 0, false
	}
	host, port, ok := strings.Cut(f[1], ":")
	if !ok {
		return none, 0, false
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return none, 0, false
	}
	addr, ok := parseHexAddr(host)
	if !ok {
		return none, 0, false
	}
	inode, err := strconv.ParseUint(f[9], 10, 64)
	return netip.AddrPortFrom(addr, uint16(p)), inode, err == nil
}

// parseHexAddr reads an address as the kernel prints it: 32-bit words in the
// byte order of the machine.
func parseHexAddr(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || (len(b) != 4 && len(b) != 16) {
		return netip.Addr{}, false
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		for i := 0; i < len(b); i += 4 {
			b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
		}
	}
	return netip.AddrFromSlice(b)
}

// parseUnixLine reads a line of /proc/net/unix; false for one that is no
// connected stream with a name.
func parseUnixLine(line []byte) (string, uint64, bool) {
	// Num: RefCount Protocol Flags Type St Inode Path; the path may have spaces.
	f := strings.Fields(string(line))
	if len(f) < 8 {
		return "", 0, false
	}
	kind, err := strconv.ParseUint(f[4], 16, 16)
	if err != nil || kind != unixStream {
		return "", 0, false
	}
	state, err := strconv.ParseUint(f[5], 16, 8)
	if err != nil || state != unixConnected {
		return "", 0, false
	}
	inode, err := strconv.ParseUint(f[6], 10, 64)
	if err != nil {
		return "", 0, false
	}
	_, path, ok := strings.Cut(string(line), " "+f[6]+" ")
	return path, inode, ok && path != ""
}
