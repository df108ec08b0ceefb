package cli

import (
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

// request is what the commands about running apps have in common.
func (s *session) request(verb state.Verb, args []string) (state.Request, error) {
	if _, err := s.home(); err != nil {
		return state.Request{}, err
	}
	ctx, cancel := s.context()
	defer cancel()
	names, err := s.apps(ctx, string(verb), args)
	return state.Request{Verb: verb, Names: names}, err
}

// simpleCommand is a command that takes names and answers that it was done.
func simpleCommand(name string, verb state.Verb, usage, done string) *command {
	return &command{
		name: name, args: "[NAME...]", max: -1, usage: usage, codes: clientCodes,
		flags: []ucli.Flag{jsonFlag()},
		run: func(s *session, c *ucli.Context) error {
			req, err := s.request(verb, c.Args().Slice())
			if err != nil {
				return err
			}
			return s.simple(req, done)
		},
	}
}

// actedJSON is the answer of restart and scale.
type actedJSON struct {
	Touched  []string           `json:"touched"`
	Started  []state.StartedApp `json:"started"`
	Receipts []state.Receipt    `json:"receipts"`
	Messages []string           `json:"messages"`
	Error    *state.Error       `json:"error,omitempty"`
}

// act sends a request that starts workers, and tells how they did.
func (s *session) act(req state.Request) error {
	res, err := s.do(req)
	if err != nil && (res.Error == nil || len(res.Started)+len(res.Receipts) == 0) {
		return err
	}
	if s.json {
		s.out.json(actedJSON{res.Touched, res.Started, res.Receipts, res.Messages, res.Error})
		return told(res.Error)
	}
	s.out.printStartedOf(res)
	for _, r := range res.Receipts {
		s.out.printReceipt(r)
	}
	ctx, cancel := s.context()
	defer cancel()
	snap := s.closing(ctx, res)
	if len(req.Names) > 0 {
		snap = onlyApps(snap, req.Names)
	}
	s.out.printList(snap)
	return s.summary(err, res)
}

// checkSignal refuses what can't be a signal's name before the daemon is asked:
// which names there are is its business.
func checkSignal(name string) error {
	for _, c := range []byte(strings.ToUpper(name)) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '-' {
			return usage("cannot send %q: it is no signal's name or number", name)
		}
	}
	if name == "" {
		return usage("the signal's name is empty")
	}
	return nil
}
