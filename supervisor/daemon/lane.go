package daemon

import "sync"

// lane runs functions one after another, in the order they came, beside whoever
// pushes them: pushing never blocks. A goroutine exists only while there is work;
// it ends with the last of it.
type lane struct {
	mu   sync.Mutex
	jobs []func()
	busy bool
	all  *sync.WaitGroup // counts the lanes at work
}

func (l *lane) push(job func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.jobs = append(l.jobs, job)
	if !l.busy {
		l.busy = true
		l.all.Add(1)
		go l.run()
	}
}

func (l *lane) run() {
	defer l.all.Done()
	for {
		l.mu.Lock()
		if len(l.jobs) == 0 {
			l.busy = false
			l.mu.Unlock()
			return
		}
		job := l.jobs[0]
		l.jobs = l.jobs[1:]
		l.mu.Unlock()
		job()
	}
}
