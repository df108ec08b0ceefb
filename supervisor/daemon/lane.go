package daemon

import "sync"

// lane runs functions one after another, in the order they came, beside whoever
// pushes them: pushing never blocks. A goroutine exists only while there is work;
// it ends with the last of it.
type lane struct {
	mu    sync.Mutex
	jobs  []func()
	busy  bool
	rest  bool            // what is pushed waits
	asked int             // counts quiesce and resume: the last one holds
	all   *sync.WaitGroup // counts the lanes at work
}

func (l *lane) push(job func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.jobs = append(l.jobs, job)
	l.work()
}

// work starts what waits; the lock is held.
func (l *lane) work() {
	if !l.busy && !l.rest && len(l.jobs) > 0 {
		l.busy = true
		l.all.Add(1)
		go l.run()
	}
}

func (l *lane) run() {
	defer l.all.Done()
	for {
		l.mu.Lock()
		if len(l.jobs) == 0 || l.rest {
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

// quiesce closes the channel that it returns when all is done that was pushed before.
// What comes later, as by a timer, waits for resume.
func (l *lane) quiesce() <-chan struct{} {
	l.mu.Lock()
	l.asked++
	asked := l.asked
	l.mu.Unlock()
	done := make(chan struct{})
	l.push(func() {
		l.mu.Lock()
		l.rest = l.asked == asked
		l.mu.Unlock()
		close(done)
	})
	return done
}

// resume takes the last quiesce back, also one that waits still.
func (l *lane) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	l.rest = false
	l.work()
}
