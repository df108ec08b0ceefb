// Package probe puts one question to one worker, again and again, until it is
// answered well once: a URL, a connection, or a command.
//
// Invariants:
//
//   - a Prober asks one question at a time, by one connection or command; when Stop has
//     returned, or the good answer was told, nothing of it is left, and when Quiesce has,
//     no question is open and nothing is told;
//   - every question is asked on a connection of its own, through no proxy, and a
//     redirect is an answer, not another question;
//   - it decides nothing: what an answer is good for is its owner's business;
//   - what the worker answers is bounded, in size and in time.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/shlex"
)

// Kinds of probe.
const (
	HTTP = "http" // Target is a URL, http:// only, or http://unix:SOCKET:/PATH; 2xx and 3xx are good (RFC 9110, 15)
	TCP  = "tcp"  // Target is HOST:PORT; a connection is good
	Unix = "unix" // Target is a socket's path, relative to Dir; a connection is good
	Exec = "exec" // Target is a command, split like a shell would; exit code 0 is good
)

// Config says what is asked. $NAME and ${NAME} in Target are variables of Env.
type Config struct {
	Kind, Target string
	Interval     time.Duration // from one answer to the next question; shorter at first, but for Exec
	Timeout      time.Duration // of one question
	Within       time.Duration // gives up after that; 0: never
	Dir          string        // the worker's working directory
	Env          []string      // the worker's environment

	// Run carries out a command as the worker would, and returns nil when it ended
	// with exit code 0. When ctx ends it ends the command and whatever that started,
	// and returns after that.
	Run func(ctx context.Context, argv []string) error
	// Tell gets the outcome of a question that differs from the one before, nil for
	// the good answer, after which there is no other. It is called by the Prober's
	// goroutine, and never after Stop has returned.
	Tell func(err error)
}

// firstInterval is the first pause; each further one is twice as long, up to
// Interval: most servers are there within a few of them.
const firstInterval = 10 * time.Millisecond

// Prober asks. Make one with New.
type Prober struct {
	config Config
	shown  string // the target with its variables expanded
	ask    func(ctx context.Context) error

	over  chan struct{}
	turns chan turn

	mu      sync.Mutex // a leaf
	cancel  context.CancelFunc
	stopped bool
}

// turn is a call of Quiesce or Resume; done is closed when it is so.
type turn struct {
	quiet bool
	done  chan struct{}
}

// New checks what can be checked before the worker runs. The error says what is
// wrong with the target: a variable that is not in Env, not an address.
func New(c Config) (*Prober, error) {
	p := &Prober{config: c, over: make(chan struct{}), turns: make(chan turn)}
	if c.Kind == Exec {
		return p, p.command()
	}
	target, missing := expand(c.Target, c.Env)
	if missing != "" {
		return nil, fmt.Errorf("the probe %s: the worker's environment has no %s", c.Target, missing)
	}
	p.shown = target
	var err error
	switch c.Kind {
	case HTTP:
		err = p.http(target)
	case TCP:
		if _, _, err = net.SplitHostPort(target); err == nil {
			p.shown, p.ask = "tcp://"+target, connect("tcp", target)
		}
	case Unix:
		p.shown, p.ask = "unix:"+target, connect("unix", p.inDir(target))
	default:
		err = fmt.Errorf("no such kind: %q", c.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("the probe %s: %w", target, err)
	}
	return p, nil
}

func (p *Prober) http(target string) error {
	if rest, ok := strings.CutPrefix(target, "http://unix:"); ok { // as nginx writes it
		path, uri, _ := strings.Cut(rest, ":")
		u, err := url.Parse("http://localhost" + uri)
		if err != nil || path == "" || uri != "" && uri[0] != '/' {
			return fmt.Errorf("not http://unix:SOCKET:/PATH")
		}
		p.ask = get("unix", p.inDir(path), u)
		return nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	if u.Scheme != "http" || u.Host == "" || u.User != nil {
		return fmt.Errorf("not http://HOST:PORT/PATH")
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	p.ask = get("tcp", net.JoinHostPort(u.Hostname(), port), u)
	return nil
}

// inDir is a socket's path; an abstract one (unix(7)) is none.
func (p *Prober) inDir(path string) string {
	if filepath.IsAbs(path) || strings.HasPrefix(path, "@") {
		return path
	}
	return filepath.Join(p.config.Dir, path)
}

// command leaves a variable that Env does not have to the shell that may be there.
func (p *Prober) command() error {
	argv, err := shlex.Split(p.config.Target)
	if err != nil || len(argv) == 0 {
		return fmt.Errorf("the probe %s is not a command", p.config.Target)
	}
	for i, word := range argv {
		argv[i], _ = expand(word, p.config.Env)
	}
	p.shown = "exec: " + p.config.Target
	p.ask = func(ctx context.Context) error { return p.config.Run(ctx, argv) }
	return nil
}

// Start begins to ask, unless Stop came before it. It is called once.
func (p *Prober) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	if p.config.Within > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), p.config.Within)
	}
	p.cancel = cancel
	go p.run(ctx, cancel) // ends with the good answer, or with Stop
}

// Stop ends it, and whatever question is open. It may be called more than once, by
// anyone but Tell, and at any time: a worker may be told to end before anybody asks it.
func (p *Prober) Stop() {
	p.mu.Lock()
	switch {
	case p.cancel != nil:
		p.cancel()
	case !p.stopped:
		close(p.over)
	}
	p.stopped = true
	p.mu.Unlock()
	<-p.over
}

// Quiesce breaks off an open question and returns when nothing of the Prober is at work;
// nothing is told until Resume. Both are for whoever may Stop, after Start.
func (p *Prober) Quiesce() { p.take(true) }

// Resume goes on asking, at once. What is left of Config.Within has run on.
func (p *Prober) Resume() { p.take(false) }

func (p *Prober) take(quiet bool) {
	t := turn{quiet, make(chan struct{})}
	select {
	case p.turns <- t:
		<-t.done
	case <-p.over:
	}
}

func (p *Prober) run(ctx context.Context, cancel context.CancelFunc) {
	defer close(p.over)
	defer cancel()
	pause := min(firstInterval, p.config.Interval)
	if p.config.Kind == Exec {
		pause = p.config.Interval
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	before := ""
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-p.turns:
			p.rest(ctx, t)
			timer.Reset(0)
			continue
		case <-timer.C:
		}
		broken, err := p.answer(ctx)
		if broken != nil {
			p.rest(ctx, *broken)
			timer.Reset(0)
			continue
		}
		if ctx.Err() != nil && err != nil {
			return
		}
		if err == nil || err.Error() != before {
			p.config.Tell(err)
		}
		if err == nil {
			return
		}
		before = err.Error()
		timer.Reset(pause)
		pause = min(2*pause, p.config.Interval)
	}
}

// rest waits for Resume, from Quiesce on, or for ctx's end.
func (p *Prober) rest(ctx context.Context, t turn) {
	for {
		close(t.done)
		if !t.quiet {
			return
		}
		select {
		case <-ctx.Done():
			return
		case t = <-p.turns:
		}
	}
}

// answer asks one question; broken is the Quiesce that came before the answer.
func (p *Prober) answer(ctx context.Context) (broken *turn, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- p.once(ctx) }() // ends with the question, which ends with ctx
	for {
		select {
		case err := <-answered:
			return nil, err
		case t := <-p.turns:
			if t.quiet {
				cancel()
				<-answered
				return &t, nil
			}
			close(t.done)
		}
	}
}

// once asks one question. The error reads as "TARGET said 503".
func (p *Prober) once(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	err := p.ask(asking)
	switch {
	case err == nil:
		return nil
	case asking.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s gave no answer in %v", p.shown, p.config.Timeout)
	}
	return fmt.Errorf("%s %w", p.shown, err)
}
