package daemon

import (
	"slices"
	"sync"
	"testing"
)

// A quiet lane does nothing more, keeps what it is told, and goes on where it was.
func TestAQuietLaneKeepsWhatItIsTold(t *testing.T) {
	var all sync.WaitGroup
	l := &lane{all: &all}
	var did []int // by the lane alone
	do := func(n int) { l.push(func() { did = append(did, n) }) }
	do(1)
	<-l.quiesce()
	all.Wait() // it has no goroutine
	do(2)
	all.Wait()
	if !slices.Equal(did, []int{1}) {
		t.Errorf("a quiet lane did %v, want 1", did)
	}
	l.resume()
	do(3)
	all.Wait()
	if !slices.Equal(did, []int{1, 2, 3}) {
		t.Errorf("it did %v, want 1 2 3", did)
	}
}

// A quiesce that was given up before its turn came does not stop the lane later, and a
// second one is not stopped by it.
func TestAQuiesceThatWasGivenUp(t *testing.T) {
	var all sync.WaitGroup
	l := &lane{all: &all}
	release := make(chan struct{})
	l.push(func() { <-release })
	first := l.quiesce()
	l.resume()
	did := false
	l.push(func() { did = true })
	second := l.quiesce()
	close(release)
	<-first
	<-second
	all.Wait()
	if !did {
		t.Error("what came before the second quiesce was not done")
	}
	late := false
	l.push(func() { late = true })
	all.Wait()
	if late {
		t.Error("a quiet lane worked")
	}
	l.resume()
	all.Wait()
	if !late {
		t.Error("what waited was not done")
	}
}
