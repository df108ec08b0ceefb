package logs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// However the bytes are cut into chunks, the lines are the same, with a follower or without.
func FuzzFeed(f *testing.F) {
	f.Add("one\ntwo\n\nthree", uint8(3))
	f.Add(strings.Repeat("\n", 200), uint8(70))
	f.Add(strings.Repeat("x", LineMax+10)+"\n", uint8(255))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		s := &Set{}
		to := &file{set: s}
		followed := &stream{worker: 1, ring: newRing()}
		alone := &stream{worker: 2, ring: newRing()}
		follower := s.Follow(Filter{Match: func(worker uint64, _ string) bool { return worker == 1 }})
		for chunk := range slices.Chunk([]byte(text), int(size)+1) {
			to.feed(followed, chunk, 0)
			to.feed(alone, chunk, 0)
		}
		whole := strings.Split(text, "\n")
		open := whole[len(whole)-1]
		whole = whole[:len(whole)-1]
		want := whole[max(len(whole)-RingLines, 0):]
		if open != "" {
			want = append(slices.Clone(want), open)
		}
		for i, line := range want {
			want[i] = Printable(line[:min(len(line), RingLineMax)])
		}
		for _, st := range []*stream{followed, alone} {
			if got := st.ring.last(RingLines + 1); !slices.Equal(got, want) {
				t.Fatalf("worker %d: %q, want %q", st.worker, got, want)
			}
		}
		if len(text) > followBytes/(lineCost+1) {
			return // it may have lost some
		}
		follower.Close()
		lines, _ := follower.Next(context.Background())
		if len(lines) != len(strings.Split(text, "\n"))-1 {
			t.Fatalf("%d lines", len(lines))
		}
	})
}

func TestLastLinesOfBothStreamsKeepTheirOrder(t *testing.T) {
	to, r := &file{set: &Set{}}, newRing()
	out, errs := &stream{kind: Stdout, ring: r}, &stream{kind: Stderr, ring: r}
	to.feed(out, []byte("one\nopen"), 0)
	to.feed(errs, []byte("two\n"), 0)
	to.feed(out, []byte("ed\n"), 0)
	if got, want := r.last(10), []string{"one", "two", "opened"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for i := range 3 * RingLines {
		to.feed(errs, fmt.Appendf(nil, "%d\n", i), 0)
	}
	if got, want := r.last(2), []string{"148", "149"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if n := len(r.last(1000)); n != RingLines {
		t.Error(n)
	}
}
