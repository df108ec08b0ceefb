package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/testdata/load"
)

// rival is a server that can reload by itself: a master with two workers.
type rival struct {
	name string
	// args prepares the stage and says how the program is started at the port.
	args func(s *stage, port int) ([]string, error)
	// stop is the signal on which it ends as it should.
	stop string
	// own names its own reload, which is a SIGHUP to the master.
	own string
}

// wsgi answers with the pid.
const wsgi = `import os

def app(environ, start_response):
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
`

// nginxConf has a pid file of its own: as root nginx removes what is there.
const nginxConf = `
daemon off;
user root;
worker_processes 2;
error_log stderr error;
pid %[1]s/nginx.pid;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen 127.0.0.1:%[2]d;
    location / { return 200 "$pid"; }
  }
}
`

// rivalRows are the reloads of both, by ours and by themselves.
func rivalRows() []row {
	gunicorn := rival{name: "gunicorn", stop: "SIGTERM", own: "gunicorn, HUP", args: func(s *stage, port int) ([]string, error) {
		_, err := s.write("wsgi.py", wsgi)
		return []string{"-w", "2", "--log-level", "error", "-b", local(port), "wsgi:app"}, err
	}}
	nginx := rival{name: "nginx", stop: "SIGQUIT", own: "nginx -s reload", args: func(s *stage, port int) ([]string, error) {
		conf, err := s.write("nginx.conf", fmt.Sprintf(nginxConf, s.dir, port))
		return []string{"-e", "stderr", "-c", conf}, err
	}}
	return []row{gunicorn.row(), nginx.row()}
}

func (r rival) row() row {
	return row{
		name: r.name, title: "reload of " + r.name + " with 2 workers, under load",
		note:    "ours replaces the whole tree, master and all (soak: 0), until the old one is gone; " + r.own + ": until both old workers are gone and a new one has answered; lost is the most of the rounds",
		rounds:  3,
		metrics: lostMetrics(),
		sides:   []side{{"supervisor", r.supervised}, {r.own, r.alone}},
		goals:   []goal{{side: "supervisor", metric: "new", zero: true}},
	}
}

// start finds the program and a port.
func (r rival) start(s *stage) (path string, args []string, port int, err error) {
	if path = map[string]string{"gunicorn": s.gunicorn, "nginx": s.nginx}[r.name]; path == "" {
		return "", nil, 0, absent(s.missing[r.name])
	}
	if port, err = freePort(); err != nil {
		return "", nil, 0, err
	}
	args, err = r.args(s, port)
	return path, args, port, err
}

// supervised is the program as ours runs it.
func (r rival) supervised(s *stage) (measurement, error) {
	path, args, port, err := r.start(s)
	if err != nil {
		return nil, err
	}
	m, err := supervise(s, app{
		"name": "web", "script": path, "args": args, "instances": 1, "exec_mode": "cluster", "kill_signal": r.stop,
		"listen_timeout": "60s", "min_uptime": "50s", "soak": 0, "kill_timeout": "40s",
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (figures, error) {
		return reloadUnderLoad(ctx, port, commanded(m))
	}, s.answers(port)
}

// alone is the program's own reload.
func (r rival) alone(s *stage) (measurement, error) {
	path, args, port, err := r.start(s)
	if err != nil {
		return nil, err
	}
	master, err := s.serve(0, nil, path, args...)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (figures, error) {
		return reloadUnderLoad(ctx, port, func(ctx context.Context) (time.Duration, error) {
			return s.hup(ctx, master.pid(), port)
		})
	}, s.answers(port)
}

// hup is a reload by a master that says nothing of its end: it has come when all the
// children of before are gone, and another has answered.
func (s *stage) hup(ctx context.Context, master, port int) (time.Duration, error) {
	old := make(map[string]int) // pid: pidfd
	defer func() {
		for _, fd := range old {
			unix.Close(fd)
		}
	}()
	for _, p := range s.processes() {
		if p.pid == master {
			continue
		}
		fd, err := unix.PidfdOpen(p.pid, 0)
		if err != nil {
			return 0, err
		}
		old[strconv.Itoa(p.pid)] = fd
	}
	if len(old) == 0 {
		return 0, errors.New("the master has no workers")
	}
	begun := time.Now()
	if err := send(master, syscall.SIGHUP); err != nil {
		return 0, err
	}
	for _, fd := range old {
		if !ended(ctx, fd) {
			return 0, fmt.Errorf("an old worker stays: %w", ctx.Err())
		}
	}
	for ctx.Err() == nil {
		pid, err := once(port)
		if _, was := old[pid]; err == nil && !was {
			return time.Since(begun), nil
		}
	}
	return 0, ctx.Err()
}

// once asks for the pid on a connection of its own.
func once(port int) (string, error) {
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(load.DefaultTimeout))
	return ask(c, "/", "close")
}
