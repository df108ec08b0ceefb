package listener

// Each calls do with the descriptor of every socket held for an app,
// those of all shares. The
// descriptors stay the table's: do must neither keep nor close them, nor block.
func (t *Table) Each(app string, do func(fd int)) {
	t.do(func() {
		for _, s := range t.of(func(s *socket) bool { return s.app == app }) {
			for _, h := range s.shares {
				do(h.fd)
			}
		}
	})
}
