package cli

import (
	"slices"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

func reloadCommand() *command {
	return &command{
		name: "reload", args: "[NAME|FILE]", max: -1,
		usage: "replace every worker without losing a connection",
		detail: "A name re-reads the app's file and touches that app alone; a file brings what runs to what it says and replaces\n" +
			"the unchanged too; none: every app. Exit 0 only if every reload is complete.",
		codes: clientCodes,
		flags: []ucli.Flag{
			envFlag(), onlyFlag(), updateEnvFlag(),
			&ucli.IntFlag{Name: "parallel", Usage: "`N`: apps reloaded at once", Value: 1},
			dryRunFlag(), jsonFlag(),
		},
		run: runReload,
	}
}

// reloadJSON is reload's answer.
type reloadJSON struct {
	Apps     []state.Receipt `json:"apps"`
	Messages []string        `json:"messages,omitempty"`
	Error    *state.Error    `json:"error,omitempty"`
}

func runReload(s *session, c *ucli.Context) error {
	if _, err := s.home(); err != nil {
		return err
	}
	req := state.Request{Verb: state.VerbReload, Only: csv(c.String("only")), UpdateEnv: c.Bool("update-env"),
		DryRun: c.Bool("dry-run"), Parallel: c.Int("parallel")}
	if req.Parallel < 1 {
		return usage("--parallel %d: want at least 1", req.Parallel)
	}
	if c.IsSet("only") && len(req.Only) == 0 {
		return usage("--only names no app")
	}
	if c.IsSet("env") {
		v := c.String("env")
		req.EnvName = &v
	}
	if req.UpdateEnv {
		req.Env = s.env.Environ()
	}
	if err := s.reloadTarget(&req, c.Args().Slice()); err != nil {
		return err
	}
	res, err := s.do(req)
	if err != nil && (res.Error == nil || len(res.Started)+len(res.Receipts) == 0) {
		return err
	}
	if res.Plan != nil && err == nil {
		s.showPlan(*res.Plan)
		return nil
	}
	if s.json {
		s.out.json(reloadJSON{res.Receipts, res.Messages, res.Error})
		return told(res.Error)
	}
	s.out.printStartedOf(res)
	for _, r := range res.Receipts {
		s.out.printReceipt(r)
	}
	if len(res.Receipts) == 0 && len(res.Started) == 0 && err == nil {
		s.out.linef("nothing to reload")
	}
	return s.summary(err, res)
}

// printStartedOf tells what a reload of a file did beside reloads.
func (p *printer) printStartedOf(res state.Result) {
	p.printStarted(slices.DeleteFunc(slices.Clone(res.Started), func(a state.StartedApp) bool {
		return slices.ContainsFunc(res.Receipts, func(r state.Receipt) bool { return r.Name == a.Name })
	}), res.Error)
}

// summary is the error to tell after receipts and starts, without the details
// that were told with them.
func (s *session) summary(err error, res state.Result) error {
	if err == nil {
		return nil
	}
	e := *res.Error
	quoted := map[string]bool{}
	for _, a := range res.Started {
		quoted[a.Reason] = true
		for _, l := range a.Details {
			quoted[l] = true
		}
	}
	for _, r := range res.Receipts {
		for _, w := range r.Workers {
			for _, l := range w.LastLines {
				quoted[l] = true
			}
		}
	}
	e.Details = slices.DeleteFunc(slices.Clone(e.Details), func(d string) bool { return quoted[d] })
	return &e
}

// reloadTarget is one file, or names, or nothing for all.
func (s *session) reloadTarget(req *state.Request, args []string) error {
	if !slices.ContainsFunc(args, isFile) {
		req.Names = args
		return nil
	}
	ctx, cancel := s.context()
	defer cancel()
	snap, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	for _, arg := range args {
		if appNamed(snap, arg) || !isFile(arg) {
			req.Names = append(req.Names, arg)
			continue
		}
		if req.File != "" || len(args) > 1 {
			return usage("reload takes names, or one file")
		}
		if req.File, err = s.file("reload", arg); err != nil {
			return err
		}
	}
	return nil
}
