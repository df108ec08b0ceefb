package cli

import (
	"context"
	"errors"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/control"
)

// defaultLines is how many of the last lines logs shows.
const defaultLines = 15

func logsCommand() *command {
	return &command{
		name: "logs", aliases: []string{"log"}, args: "[NAME...]", max: -1,
		usage: "show what workers wrote",
		codes: clientCodes,
		flags: []ucli.Flag{
			&ucli.IntFlag{Name: "n", Aliases: []string{"lines"}, Usage: "`N`: how many of the last lines", Value: defaultLines},
			&ucli.BoolFlag{Name: "f", Aliases: []string{"follow"}, Usage: "go on with the lines that come"},
			&ucli.BoolFlag{Name: "err", Usage: "stderr only"},
			&ucli.BoolFlag{Name: "out", Usage: "stdout only"},
			jsonFlag(),
		},
		run: runLogs,
	}
}

func runLogs(s *session, c *ucli.Context) error {
	n := c.Int("n")
	if n < 0 || n > control.MaxLogLines {
		return usage("cannot show %d lines: want 0 to %d", n, control.MaxLogLines)
	}
	ctx, cancel := s.context()
	defer cancel()
	names, err := s.apps(ctx, "show the logs of", c.Args().Slice())
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	q := control.LogQuery{Names: names, N: n, Follow: c.Bool("f"), Out: c.Bool("out"), Err: c.Bool("err")}
	if !q.Out && !q.Err {
		q.Out, q.Err = true, true
	}
	err = client.Logs(ctx, q, func(l control.LogLine) bool { return s.logLine(l) })
	if ctx.Err() != nil {
		return exitCode(exitInterrupted) // nothing was asked for that could go on
	}
	var broken *control.BrokenError
	if errors.As(err, &broken) {
		return failed("the supervisor went away")
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// logLine prints one line, false when nobody reads any more.
func (s *session) logLine(l control.LogLine) bool {
	if s.json {
		l.Cursor = "" // it is between the client and the daemon
		s.out.json(l)
		return true
	}
	p := s.out
	if l.Lost > 0 {
		p.note(fmt.Sprintf("(%s of %s:%d not shown: too fast for this reader)", plural(l.Lost, "line"), l.App, l.Slot))
	}
	mark, colour := "|", faint
	if l.Stream == "err" {
		mark, colour = "err|", red
	}
	_, err := fmt.Fprintf(p.out, "%s %s\n", p.paint(colour, p.safe(fmt.Sprintf("%s:%d %s", l.App, l.Slot, mark))), p.safe(l.Text))
	return err == nil
}
