package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	// logLines and logBytes are what the worker writes on a signal.
	logLines = 500_000
	logBytes = logLines * 100
	// look is the pause between two looks at the size of a log that is not whole yet,
	// after the worker has written its last line.
	look = time.Millisecond
)

// logsRow is what capture costs the writer, and the daemon.
func logsRow() row {
	const direct = "worker writes the file itself"
	return row{
		name: "logs", title: "500,000 lines of 100 bytes to the log file",
		note: "from the worker's first write(2), one for each line, until the file has them all",
		metrics: []metric{
			{name: "wall", title: "wall", unit: "ms", picture: true},
			{name: "writer", title: "of it the worker wrote", unit: "ms"},
			{name: "cpu", title: "CPU of the daemon", unit: "ms"},
		},
		sides: []side{
			logsSide("supervisor", supervise, app{"wait_ready": true, "log": map[string]any{"max_size": 0}}),
			logsSide("pm2, fork mode", startPM2, app{"exec_mode": "fork"}),
			{direct, directLogs},
		},
		goals: []goal{
			{side: "supervisor", metric: "wall", against: direct, atMost: 1.5},
			{side: "supervisor", metric: "wall", against: "pm2, fork mode", atMost: 1},
		},
	}
}

func logsSide(name string, start manage, keys app) side {
	return side{name, func(s *stage) (measurement, error) {
		f, err := s.fifo()
		if err != nil {
			return nil, err
		}
		s.env = append(s.env, f.env())
		m, err := start(s, s.tiny(1).with(app{"args": []string{"lines"}}).with(keys))
		if err != nil {
			return nil, err
		}
		w, err := f.wait(s.ctx, "ready")
		if err != nil {
			return nil, err
		}
		path, err := m.log("tiny")
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (figures, error) {
			before, err := cpu(m.own())
			if err != nil {
				return nil, err
			}
			got, err := writeLines(ctx, f, w.pid, path)
			if err != nil {
				return nil, err
			}
			after, err := cpu(m.own())
			if err != nil {
				return nil, err
			}
			got["cpu"] = ms(after - before)
			_, err = m.run("flush", "tiny")
			return got, err
		}, nil
	}}
}

// directLogs is the worker with a file for its standard output.
func directLogs(s *stage) (measurement, error) {
	f, err := s.fifo()
	if err != nil {
		return nil, err
	}
	path, err := s.write("direct.log", "")
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := s.start(file, []string{f.env()}, s.worker, "lines")
	if err != nil {
		return nil, err
	}
	if _, err := f.wait(s.ctx, "ready"); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (figures, error) {
		got, err := writeLines(ctx, f, b.pid(), path)
		if err != nil {
			return nil, err
		}
		return got, os.Truncate(path, 0)
	}, nil
}

// writeLines has the worker write, and waits until the file has grown by all of it.
func writeLines(ctx context.Context, f *fifo, pid int, path string) (figures, error) {
	size := func() int64 {
		if info, err := os.Stat(path); err == nil {
			return info.Size()
		}
		return 0
	}
	goal := size() + logBytes
	if err := send(pid, syscall.SIGUSR1); err != nil {
		return nil, err
	}
	begin, err := f.wait(ctx, "begin")
	if err != nil {
		return nil, err
	}
	end, err := f.wait(ctx, "end")
	if err != nil {
		return nil, err
	}
	for size() < goal {
		if err := pause(ctx, look); err != nil {
			return nil, fmt.Errorf("%s has %d of %d bytes: %w", path, size(), goal, err)
		}
	}
	return figures{"wall": ms(now() - begin.at), "writer": ms(end.at - begin.at)}, nil
}
