package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

func describeCommand() *command {
	return &command{
		name: "describe", aliases: []string{"show", "info"}, args: "[NAME...]", max: -1,
		usage: "show an app in full: what runs, its settings, logs and last reload",
		codes: clientCodes,
		flags: []ucli.Flag{jsonFlag()},
		run:   runDescribe,
	}
}

// describeJSON is describe's answer.
type describeJSON struct {
	Apps []state.Describe `json:"apps"`
}

func runDescribe(s *session, c *ucli.Context) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	ctx, cancel := s.context()
	defer cancel()
	names, err := s.apps(ctx, "describe", c.Args().Slice())
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = []string{""}
	}
	all := describeJSON{Apps: []state.Describe{}}
	for _, name := range names {
		apps, err := client.Describe(ctx, name)
		if err != nil {
			return err
		}
		for i := range apps {
			tidyDescribe(&apps[i])
		}
		all.Apps = append(all.Apps, apps...)
	}
	if s.json {
		s.out.json(all)
		return nil
	}
	for i, d := range all.Apps {
		if i > 0 {
			s.out.linef("")
		}
		s.out.printDescribe(d)
	}
	if len(all.Apps) == 0 {
		s.out.linef("no apps")
	}
	return nil
}

// field is a line of describe's block; without a value it is left out.
func (p *printer) field(name, value string) {
	if value != "" {
		p.linef("  %-14s %s", name, value)
	}
}

func (p *printer) printDescribe(d state.Describe) {
	p.linef("%s is %s", d.Name, p.paint(stateColour(d.Status), d.Status))
	p.field("generation", fmt.Sprint(d.Generation))
	p.field("instances", fmt.Sprint(d.Instances))
	p.field("restarts", fmt.Sprint(d.Restarts))
	p.field("file", d.File)
	p.field("env", d.EnvName)
	p.field("script", d.Script)
	p.field("command", strings.Join(d.Command, " "))
	p.field("instead of", d.Instead)
	p.field("cwd", d.Cwd)
	p.field("listening", strings.Join(d.Listening, " "))
	p.field("mode", mode(d.Settings))
	p.field("ready", readiness(d.Settings))
	p.field("stop", fmt.Sprintf("%s, SIGKILL after %v", signalName(d.Settings.KillSignal), d.Settings.KillTimeout))
	p.field("restart", restartPolicy(d.Settings))
	for _, l := range d.Logs {
		p.field("log", l)
	}
	for _, n := range d.Notes {
		p.field("note", n)
	}
	for _, w := range d.Workers {
		p.describeWorker(d, w)
	}
	keys := make([]string, 0, len(d.Env))
	for k := range d.Env {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i == 0 {
			p.linef("  env:")
		}
		p.linef("    %s=%s", k, d.Env[k])
	}
	if d.Last != nil {
		p.linef("  last reload, %s:", d.Last.StartedAt.Local().Format(time.DateTime))
		p.printReceipt(*d.Last)
	}
}

func (p *printer) describeWorker(d state.Describe, w state.Worker) {
	line := fmt.Sprintf("slot %d: %s", w.Slot, p.paint(stateColour(w.State), w.State))
	if w.PID != 0 {
		line += fmt.Sprintf(", pid %d", w.PID)
	}
	line += fmt.Sprintf(", generation %d, up %s, %s", w.Generation, uptime(w.UptimeMS), plural(w.Restarts, "restart"))
	if w.RSSBytes != nil || w.CPUPercent != nil {
		line += fmt.Sprintf(", memory %s, cpu %s", size(w.RSSBytes), percent(w.CPUPercent))
	}
	p.linef("  %s", line)
	for _, x := range d.Details {
		// A slot has two workers while one retires: they differ in their state.
		if x.Slot != w.Slot || shownState(x.State) != w.State {
			continue
		}
		if x.Status != "" {
			p.linef("    says: %s", x.Status)
		}
		if x.LastExit != "" {
			p.linef("    last exit: %s", x.LastExit)
		}
		break
	}
}

// shownState is pm2's word for a machine's state by its own name.
func shownState(name string) string {
	for _, s := range state.States {
		if s.String() == name {
			return s.Shown()
		}
	}
	return name
}

func mode(s state.Spec) string {
	if s.Mode == state.Fork {
		return "fork: a reload stops the old worker first"
	}
	if s.Reload.BlueGreen {
		return "cluster, blue-green"
	}
	return fmt.Sprintf("cluster, rolling: max_surge %s, max_unavailable %s", amount(s.Reload.MaxSurge), amount(s.Reload.MaxUnavailable))
}

func amount(a state.Amount) string {
	if a.Percent {
		return fmt.Sprintf("%d%%", a.N)
	}
	return fmt.Sprint(a.N)
}

func readiness(s state.Spec) string {
	text := fmt.Sprintf("when it listens, within %v", s.ListenTimeout)
	switch {
	case s.WaitReady && s.Ready != nil:
		text = fmt.Sprintf("when it says so and the probe %v succeeds, within %v", s.Ready, s.ListenTimeout)
	case s.WaitReady:
		text = fmt.Sprintf("when it says so, within %v", s.ListenTimeout)
	case s.Ready != nil:
		text = fmt.Sprintf("when the probe %v succeeds, within %v", s.Ready, s.ListenTimeout)
	}
	if s.Soak != nil && *s.Soak > 0 {
		text += fmt.Sprintf(", then %v of soak", *s.Soak)
	}
	return text
}

func restartPolicy(s state.Spec) string {
	if !s.AutoRestart {
		return "never"
	}
	return fmt.Sprintf("always; errored after %d ends in a row within %v", s.MaxRestarts, s.MinUptime)
}

func signalName(n int) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}
