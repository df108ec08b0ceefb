package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"supervisor/supervisor/control"
	"supervisor/supervisor/handover"
)

// deaths are those of one measurement.
const deaths = 10

// keeperRow is the memory of the process that holds for the supervisor.
func keeperRow(workers int) row {
	return row{
		name: fmt.Sprintf("keeper-%d", workers), title: fmt.Sprintf("memory of the idle keeper, %d workers", workers),
		note:   "it is part of the rows above as well",
		rounds: 3, fresh: true, quick: workers < 10,
		metrics: []metric{{name: "rss", title: "RSS", unit: "MB"}, {name: "pss", title: "PSS", unit: "MB"}},
		sides: []side{{"supervisor", func(s *stage) (measurement, error) {
			m, err := supervise(s, s.tiny(workers).with(app{"exec_mode": "cluster", "wait_ready": true}))
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) (figures, error) {
				if err := pause(ctx, settle); err != nil {
					return nil, err
				}
				return memory(keepers(m.own()))
			}, nil
		}}},
		goals: []goal{{side: "supervisor", metric: "rss", atMost: 6}},
	}
}

// keepers are those of some processes that are keepers (proc_pid_cmdline(5)).
func keepers(procs []proc) (found []proc) {
	for _, p := range procs {
		cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
		if name, _, _ := bytes.Cut(cmdline, []byte{0}); err == nil && string(name) == handover.KeeperName {
			found = append(found, p)
		}
	}
	return found
}

// deathRow is how long nobody answers after a kill -9 of the supervisor.
func deathRow() row {
	return row{
		name: "death", title: "SIGKILL of the supervisor to its successor's answer",
		note:    "median of 10; from kill(2) to the answer to a ping that was sent at once; 2 workers, the same before and after. pm2's god daemon does not come back",
		quick:   true,
		metrics: []metric{{name: "time", title: "time", unit: "ms", picture: true}},
		sides:   []side{{"supervisor", deathSide}},
		goals:   []goal{{side: "supervisor", metric: "time", atMost: 50}},
	}
}

func deathSide(s *stage) (measurement, error) {
	m, err := supervise(s, s.tiny(2).with(app{"wait_ready": true}))
	if err != nil {
		return nil, err
	}
	client := control.Dial(filepath.Join(m.(*ours).home, "supervisor.sock"))
	return func(ctx context.Context) (figures, error) {
		var times []float64
		for range deaths {
			pong, err := client.Ping(ctx)
			if err != nil {
				return nil, err
			}
			before, err := m.pids("tiny")
			if err != nil {
				return nil, err
			}
			begun := now()
			if err := send(pong.PID, syscall.SIGKILL); err != nil {
				return nil, err
			}
			next, err := client.Ping(ctx)
			if err != nil {
				return nil, err
			}
			took := ms(now() - begun)
			after, err := m.pids("tiny")
			if err != nil {
				return nil, err
			}
			if next.PID == pong.PID { // it answered before it died
				continue
			}
			if fmt.Sprint(before) != fmt.Sprint(after) {
				return nil, fmt.Errorf("the workers were %v and are %v", before, after)
			}
			times = append(times, took)
		}
		return figures{"time": median(times)}, nil
	}, nil
}

// upgradeRow is the command that replaces the supervisor by its own binary.
func upgradeRow() row {
	return row{
		name: "upgrade", title: "upgrade of the supervisor, 2 workers",
		note:    "the whole command; the workers are the same before and after",
		quick:   true,
		metrics: []metric{{name: "time", title: "time", unit: "ms"}},
		sides: []side{{"supervisor", func(s *stage) (measurement, error) {
			m, err := supervise(s, s.tiny(2).with(app{"wait_ready": true}))
			if err != nil {
				return nil, err
			}
			return func(context.Context) (figures, error) {
				c, err := m.(*ours).run("upgrade")
				return figures{"time": ms(c.wall)}, err
			}, nil
		}}},
	}
}
