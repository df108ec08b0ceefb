package cli

import (
	"context"
	"errors"
	"strconv"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
	"supervisor/supervisor/systemd"
)

func startCommand() *command {
	return &command{
		name: "start", args: "[FILE|SCRIPT|NAME]", max: 1, after: true,
		usage: "start the apps of a file, a script, or a stopped app",
		detail: "The argument is an app's name, else a file by its ending (.yaml, .yml, .json), else a script or program.\n" +
			"None: ecosystem.yaml, .yml or .json in the current folder. What runs is brought to what the file says.\n" +
			"A daemon is started in the background if none runs.\n" +
			"With --no-daemon the command is the daemon, and shows what workers write. SIGTERM and SIGINT stop everything,\n" +
			"exit code 0. It ends by itself when every app has ended for good (autorestart: false, stop_exit_codes), with\n" +
			"the exit code of what it ran: the first that is not 0 in the order of the file, 128+n for signal n, 1 for what\n" +
			"could not be started. Apps with autostart: false that nobody has started do not count.",
		codes: []int{state.ExitOK, state.ExitFailed, state.ExitUsage},
		flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "no-daemon", Usage: "be the daemon, in the foreground (systemd, containers)"},
			envFlag(), onlyFlag(),
			&ucli.StringFlag{Name: "i", Aliases: []string{"instances"}, Usage: "`N`: workers of each app: a number, max, or -N for the cpus less N"},
			&ucli.StringFlag{Name: "name", Usage: "`NAME`: the app's name, for a script or a file with one app"},
			updateEnvFlag(), dryRunFlag(), jsonFlag(),
		},
		run: runStart,
	}
}

// startJSON is start's answer: list's, and how each first start went.
type startJSON struct {
	Daemon   state.DaemonInfo   `json:"daemon"`
	Apps     []state.App        `json:"apps"`
	Started  []state.StartedApp `json:"started"`
	Messages []string           `json:"messages"`
	Error    *state.Error       `json:"error,omitempty"`
}

func runStart(s *session, c *ucli.Context) error {
	home, err := s.home()
	if err != nil {
		return err
	}
	if c.Bool("no-daemon") {
		return s.startForeground(c, home)
	}
	ctx, cancel := s.context()
	defer cancel()
	known, running, err := s.known(ctx)
	if err != nil {
		return err
	}
	req, err := s.startRequest(c, known, false)
	if err != nil {
		return err
	}
	if !running {
		done, err := s.firstDaemon(ctx, c.Args().First(), home, req)
		if done || err != nil {
			return err
		}
	}
	return s.start(ctx, req)
}

// startForeground becomes the daemon, or its keeper. A service whose file can't be used
// ends with a code of its own: its unit is not to be started again for that.
func (s *session) startForeground(c *ucli.Context, home string) error {
	goesOn := s.leftOpen()
	req, err := s.startRequest(c, nil, goesOn)
	if err == nil && (c.Bool("dry-run") || s.json) {
		err = usage("--no-daemon goes with neither --dry-run nor --json")
	}
	if err == nil {
		err = s.foreground(home, req)
	}
	var code exitCode
	switch {
	case !s.isService() || goesOn: // then workers may live
	case errors.As(err, &code) && code == state.ExitUsage:
		return exitCode(systemd.ExitConfig)
	case err != nil && s.explain(err).Code == state.ExitUsage:
		e := s.explain(err)
		e.Code = systemd.ExitConfig
		return e
	}
	return err
}

// isService reports whether systemd has started this process, and no keeper. Others speak
// through NOTIFY_SOCKET as well, and give no INVOCATION_ID (systemd.exec(5)).
func (s *session) isService() bool {
	return s.env.Getenv("NOTIFY_SOCKET") != "" && s.env.Getenv("INVOCATION_ID") != "" && s.env.Getenv("SUPERVISOR_KEEPER") == ""
}

// startRequest is what was typed, checked. With goesOn what ran before goes on, and what is
// to be started may be gone.
func (s *session) startRequest(c *ucli.Context, known []string, goesOn bool) (state.Request, error) {
	req := state.Request{Verb: state.VerbStart, Env: s.env.Environ(), UpdateEnv: c.Bool("update-env"), DryRun: c.Bool("dry-run")}
	if err := s.startTarget(&req, c.Args().First(), known); err != nil {
		if !goesOn {
			return req, err
		}
		s.startUnseen(&req, c.Args().First())
	}
	if c.IsSet("env") {
		v := c.String("env")
		req.EnvName = &v
	}
	if c.IsSet("i") {
		v := c.String("i")
		if why := countForm(v, false); why != "" {
			return req, usage("cannot start with -i %s: %s", v, why)
		}
		req.Instances = &v
	}
	if c.IsSet("name") {
		v := c.String("name")
		if v == "" {
			return req, usage("--name is empty")
		}
		req.Rename = &v
	}
	req.Only = csv(c.String("only"))
	switch {
	case c.IsSet("only") && len(req.Only) == 0:
		return req, usage("--only names no app")
	case len(req.Only) > 0 && req.File == "":
		return req, usage("--only goes with a file")
	case len(s.after) > 0 && req.Script == nil:
		return req, usage("the arguments after -- go with a script; those of a file's app are its args key")
	case len(req.Names) > 0 && req.Instances != nil:
		return req, usage("-i goes with a file or script; for %s: supervisor scale %s %s", req.Names[0], req.Names[0], *req.Instances)
	case len(req.Names) > 0 && (req.Rename != nil || req.EnvName != nil):
		return req, usage("%s is an app that is known: --name and --env go with a file or script (supervisor reload %s --env NAME)", req.Names[0], req.Names[0])
	}
	return req, nil
}

// foreground is the daemon itself where somebody holds for it already (systemd, or the
// keeper that ran this same command line again), else that keeper. A container's first
// process is a keeper always: whoever speaks to it as systemd does (podman) holds nothing,
// does not start it again, and leaves the orphans to it.
func (s *session) foreground(home string, req state.Request) error {
	if err := ensureHome(home); err != nil {
		return err
	}
	code := 0
	socket := s.env.Getenv("NOTIFY_SOCKET")
	if s.env.Keeper != nil && (socket == "" || s.env.Init) {
		code = s.env.Keeper(KeeperOptions{
			Home: home, Daemon: append([]string{"supervisor"}, s.args[1:]...), Upward: socket,
			Stdout: s.env.Stdout, Stderr: s.env.Stderr,
		})
	} else {
		code = s.env.Daemon(DaemonOptions{
			Home: home, Foreground: true, Request: &req, ReadyFD: -1,
			Version: s.env.Version, Stdout: s.env.Stdout, Stderr: s.env.Stderr,
		})
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// firstDaemon starts the daemon for a first request. A file that is broken is
// told before, so that no idle daemon is left by it; a dry run needs none.
func (s *session) firstDaemon(ctx context.Context, typed, home string, req state.Request) (done bool, err error) {
	plan := state.Plan{}
	if req.File != "" {
		if typed == "" {
			typed = req.File
		}
		ok, err := s.checkFile("start", typed, req.File, req)
		if err != nil {
			return false, err
		}
		for _, name := range ok.Apps {
			plan.Apps = append(plan.Apps, state.PlanApp{Name: name, Action: "start"})
		}
	} else if req.Script != nil {
		plan.Apps = append(plan.Apps, state.PlanApp{Name: req.Script.Path, Action: "start"})
	}
	if req.DryRun {
		res := state.Result{Plan: &plan}
		tidyResult(&res)
		s.showPlan(*res.Plan)
		return true, nil
	}
	return false, s.startBackground(ctx, home)
}

func (s *session) start(ctx context.Context, req state.Request) error {
	res, err := s.do(req)
	if err != nil && (res.Error == nil || len(res.Started) == 0) {
		return err
	}
	if res.Plan != nil && err == nil {
		s.showPlan(*res.Plan)
		return nil
	}
	snap := s.closing(ctx, res)
	if len(req.Only) > 0 {
		snap = onlyApps(snap, req.Only)
	}
	if s.json {
		s.out.json(startJSON{snap.Daemon, snap.Apps, res.Started, res.Messages, res.Error})
		return told(res.Error)
	}
	s.out.printStarted(res.Started, res.Error)
	s.out.printList(snap)
	return s.summary(err, res)
}

// closing is the list that ends a command: the result's own, else a new one.
func (s *session) closing(ctx context.Context, res state.Result) state.Snapshot {
	if res.Snapshot != nil {
		return *res.Snapshot
	}
	snap, err := s.snapshot(ctx)
	if err != nil && !errors.Is(err, control.ErrNoDaemon) {
		s.out.note("cannot list: " + err.Error())
	}
	return tidySnapshot(snap)
}

// told is the exit code of an error that the JSON holds already.
func told(e *state.Error) error {
	if e == nil {
		return nil
	}
	return exitCode(e.Code)
}

func (s *session) showPlan(plan state.Plan) {
	if s.json {
		s.out.json(plan)
		return
	}
	s.out.printPlan(plan)
}

// printStarted tells each app's first start; details are a failed worker's last
// lines. The reason that err will tell anyway is left to it.
func (p *printer) printStarted(apps []state.StartedApp, err *state.Error) {
	for _, a := range apps {
		if a.Action == state.Skipped && a.Reason != "" {
			p.linef("%s: %s: %s", a.Name, a.Action, a.Reason)
			continue
		}
		if a.OK || a.Action == state.Skipped {
			p.linef("%s: %s", a.Name, a.Action)
			continue
		}
		line := a.Name + ":"
		if a.Slot != nil {
			line += " slot " + strconv.Itoa(*a.Slot)
		}
		line += " " + p.paint(red, "failed")
		if a.Reason != "" && (err == nil || a.Reason != err.Message) {
			line += ": " + a.Reason
		}
		p.linef("%s", line)
		for _, d := range a.Details {
			p.linef("      | %s", d)
		}
	}
}
