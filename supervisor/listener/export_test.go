package listener

import "golang.org/x/sys/unix"

// RefuseTaking makes pidfd_getfd fail, as in some containers. It is called
// before the first Attach.
func (t *Table) RefuseTaking(errno unix.Errno) {
	t.do(func() { t.takeFD = func(int, int) (int, error) { return -1, errno } })
}
