package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"supervisor/supervisor/logs"
)

// console prints the workers' lines to the daemon's own stdout and stderr, each
// with its worker's label. A terminal or pipe that does not take them loses lines,
// which are counted; it delays no worker.
type console struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (d *daemon) startConsole() *console {
	ctx, cancel := context.WithCancel(context.Background())
	c := &console{cancel: cancel, done: make(chan struct{})}
	follower := d.world.logs.Follow(logs.Filter{})
	out, errs := bufio.NewWriter(d.Stdout), bufio.NewWriter(d.Stderr)
	go func() { // ends with end, or with the capture
		defer close(c.done)
		defer follower.Close()
		for {
			lines, err := follower.Next(ctx)
			if err != nil {
				return
			}
			for _, l := range lines {
				to := io.Writer(out)
				if l.Stream == logs.Stderr {
					to = errs
				}
				if l.Lost > 0 {
					fmt.Fprintf(errs, "supervisor: %d lines lost: nobody read them in time\n", l.Lost)
				}
				fmt.Fprintf(to, "%s | %s\n", l.Label, l.Text)
			}
			out.Flush()
			errs.Flush()
		}
	}()
	return c
}

// end prints what is left. A write that blocks is not waited for.
func (c *console) end() { c.cancel() }
