package gate

import "bytes"

// MaxLine is the longest message on the Node channel in bytes, without its newline. It is all
// that a worker can make us hold.
const MaxLine = 1 << 20

// splitter cuts a stream into lines. Of a line that is longer than max it tells once, when it
// gets too long, and skips the rest.
type splitter struct {
	max  int
	part []byte // of a line whose end has not come
	skip bool   // to the next newline
}

// feed takes the next bytes and calls line for every line that ends in them, without its
// newline, and for one that became too long with its first max bytes. The slices are valid
// during the call.
func (s *splitter) feed(p []byte, line func(l []byte, long bool)) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		end, rest := p, []byte(nil)
		if i >= 0 {
			end, rest = p[:i], p[i+1:]
		}
		p = rest
		switch {
		case s.skip:
			s.skip = i < 0
			continue
		case len(s.part)+len(end) > s.max:
			n := s.max - len(s.part)
			line(s.join(end[:n]), true)
			s.skip = i < 0
		case i >= 0:
			line(s.join(end), false)
		default:
			s.part = append(s.part, end...)
			continue
		}
		s.part = nil // not kept for the next: most lines come whole
	}
}

// join is the whole line, copied only if a part of it came before.
func (s *splitter) join(end []byte) []byte {
	if len(s.part) == 0 {
		return end
	}
	s.part = append(s.part, end...)
	return s.part
}
