package listener

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// look marks those of the suspects that a process other than ours has open, or
// may have: one of a worker that has the socket and can't be looked into. The
// process first is looked at first, since it mostly has them all. Who stores what we
// hold is passed over: the keeper, or systemd, which is our parent as it mostly is.
func (t *Table) look(all suspects, first int) {
	missing := len(all)
	for _, s := range all {
		if !s.open && slices.ContainsFunc(s.pids, t.hidden) {
			s.open = true
			missing--
		}
	}
	if first > 0 && missing > 0 {
		missing -= t.lookAt(all, strconv.Itoa(first))
	}
	if missing == 0 {
		return
	}
	ours := [...]string{strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getppid()), strconv.Itoa(t.holder())}
	for _, pid := range processes() {
		if slices.Contains(ours[:], pid) {
			continue
		}
		if missing -= t.lookAt(all, pid); missing == 0 {
			return
		}
	}
}

// hidden tells if we may not see what a process has open.
func (t *Table) hidden(pid int) bool {
	if err := t.target(pid).may("/fd"); err != nil {
		return denied(err)
	}
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err == nil {
		f.Close()
	}
	return denied(err)
}

// lookAt marks what one process has open, and counts what was not known yet. A process
// that we have just forked has all that we have, until it has executed its program: it is
// known by the beacon.
func (t *Table) lookAt(all suspects, pid string) (found int) {
	if t.refused != nil && t.refused("/proc/"+pid+"/fd") != nil {
		return 0
	}
	has := map[string]uint64{} // what is a suspect's, by path
	for _, fd := range names("/proc/" + pid + "/fd") {
		path := "/proc/" + pid + "/fd/" + fd
		inode, ok := socketAt(path)
		if ok && inode == t.beacon.inode {
			return 0
		}
		if s := all[inode]; ok && s != nil && !s.open {
			has[path] = inode
		}
	}
	for path, inode := range has {
		if again, ok := socketAt(path); !ok || again != inode {
			continue // it has gone with the beacon
		}
		if s := all[inode]; !s.open {
			s.open = true
			found++
		}
	}
	return found
}

// socketAt is the inode of the socket that a link in /proc/PID/fd leads to.
func socketAt(path string) (inode uint64, ok bool) {
	link, err := os.Readlink(path)
	if err != nil {
		return 0, false
	}
	return socketInode(link)
}

// beacon is a socket that nobody but us has, and what we have forked until it executes
// something.
type beacon struct {
	fd    int
	inode uint64 // 0: there is none
}

// light makes the beacon. Without it what we fork is taken for somebody who has what we
// have, for an instant.
func light() (b beacon) {
	var err error
	if b.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return beacon{fd: -1}
	}
	b.inode, _ = inodeOf(b.fd)
	return b
}

func (b beacon) close() {
	if b.fd >= 0 {
		unix.Close(b.fd)
	}
}

// processes are the names in /proc that are numbers.
func processes() (pids []string) {
	for _, name := range names("/proc") {
		if name[0] >= '0' && name[0] <= '9' {
			pids = append(pids, name)
		}
	}
	return pids
}

// names lists a folder, as far as it can be read.
func names(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	list, _ := f.Readdirnames(-1)
	return list
}

// findHolder names the process that listens where k can't be bound, as "pid
// 123 (nginx)". The tables are those of the network namespace of the process
// that proc (/proc/PID) is about.
func findHolder(proc string, k key) string {
	const unknown = "another process"
	inodes := map[uint64]bool{}
	for _, name := range [...]string{"tcp", "tcp6"} {
		collectHolders(proc+"/net/"+name, k, inodes)
	}
	return ownerOf(inodes, unknown)
}

// ownerOf names a process that has one of the sockets open.
func ownerOf(inodes map[uint64]bool, unknown string) string {
	if len(inodes) == 0 {
		return unknown
	}
	for _, pid := range processes() {
		for _, fd := range names("/proc/" + pid + "/fd") {
			link, _ := os.Readlink("/proc/" + pid + "/fd/" + fd)
			if inode, ok := socketInode(link); ok && inodes[inode] {
				return "pid " + pid + " (" + command(pid) + ")"
			}
		}
	}
	return unknown
}

func command(pid string) string {
	b, _ := os.ReadFile("/proc/" + pid + "/comm")
	return strings.TrimSpace(string(b))
}

// collectHolders reads /proc/net/tcp or tcp6 for sockets that listen on an
// address which k covers, or which covers k (proc_pid_net(5)).
func collectHolders(file string, k key, inodes map[uint64]bool) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		other, inode, ok := parseNetLine(scanner.Text())
		other.netns = k.netns
		if ok && (other.covers(k) || k.covers(other)) {
			inodes[inode] = true
		}
	}
}

// parseNetLine reads a line of /proc/net/tcp or tcp6; ok only for a socket
// that listens.
func parseNetLine(line string) (k key, inode uint64, ok bool) {
	const listening = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listening {
		return k, 0, false
	}
	address, port, _ := strings.Cut(fields[1], ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return k, 0, false
	}
	// Each four bytes are written as one number of this machine.
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(k.addr[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return k, 0, false
	}
	k.port, k.family = uint16(n), unix.AF_INET
	if len(raw) == 16 {
		k.family = unix.AF_INET6
	}
	inode, err = strconv.ParseUint(fields[9], 10, 64)
	return k, inode, err == nil
}

// findUnixHolder names the process that listens on a path.
func findUnixHolder(path string) string {
	const unknown = "a live server"
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return unknown
	}
	defer f.Close()
	inodes := map[uint64]bool{}
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.SplitN(strings.Join(strings.Fields(scanner.Text()), " "), " ", 8)
		if len(fields) == 8 && fields[7] == path {
			if inode, err := strconv.ParseUint(fields[6], 10, 64); err == nil {
				inodes[inode] = true
			}
		}
	}
	return ownerOf(inodes, unknown)
}
