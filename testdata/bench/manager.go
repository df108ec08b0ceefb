package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"supervisor/supervisor/state"
)

// app is one of an ecosystem file. Ours reads pm2's names.
type app map[string]any

// with is the app with more keys.
func (a app) with(more app) app {
	all := make(app)
	for _, keys := range []app{a, more} {
		for k, v := range keys {
			all[k] = v
		}
	}
	return all
}

// manager is a process manager that runs apps: ours, or pm2.
type manager interface {
	// run is one of its commands, which has to succeed.
	run(args ...string) (cost, error)
	// pids are those of an app's workers.
	pids(name string) ([]int, error)
	// own are the processes of the manager itself, for apps of the folders worker and
	// server.
	own() []proc
	// log is where the only worker of an app has its standard output.
	log(name string) (string, error)
}

// manage starts a manager with the apps, and waits until it says that they run.
type manage func(*stage, ...app) (manager, error)

// ours is a supervisor in a home of its own.
type ours struct {
	*stage
	home   string
	binary string // a link of the stage's own, by which its processes are known
}

// supervise starts it.
func supervise(s *stage, apps ...app) (manager, error) {
	for _, a := range apps {
		if a["balance"] == "even" && !s.even {
			return nil, absent("this build does not know balance: even")
		}
	}
	o := &ours{s, filepath.Join(s.dir, "home"), filepath.Join(s.dir, "supervisor")}
	if err := os.Link(s.supervisor, o.binary); err != nil {
		return nil, err
	}
	file, err := s.ecosystem(apps)
	if err != nil {
		return nil, err
	}
	_, err = o.run("start", file)
	return o, err
}

// ecosystem writes the file.
func (s *stage) ecosystem(apps []app) (string, error) {
	data, err := json.Marshal(map[string]any{"apps": apps})
	if err != nil {
		return "", err
	}
	return s.write("ecosystem.json", string(data))
}

func (o *ours) run(args ...string) (cost, error) {
	return o.stage.run([]string{"SUPERVISOR_HOME=" + o.home}, o.binary, args...)
}

func (o *ours) pids(name string) (pids []int, err error) {
	out, err := o.run("list", "--json")
	if err != nil {
		return nil, err
	}
	var list state.Snapshot
	if err := json.Unmarshal([]byte(out.out), &list); err != nil {
		return nil, err
	}
	for _, a := range list.Apps {
		for _, w := range a.Workers {
			if a.Name == name && w.PID > 0 {
				pids = append(pids, w.PID)
			}
		}
	}
	return pids, nil
}

func (o *ours) own() []proc { return o.notWorkers() }

func (o *ours) log(name string) (string, error) {
	return filepath.Join(o.home, "logs", name+"-out-0.log"), nil
}

// notWorkers are the stage's processes but those of our own programs: whatever a
// manager has beside them, now or in a later version, is its own.
func (s *stage) notWorkers() (found []proc) {
	for _, p := range s.processes() {
		if p.exe != s.worker && p.exe != s.server {
			found = append(found, p)
		}
	}
	return found
}

// pm2 is a God daemon in a home of its own.
type pm2 struct {
	*stage
	home string
}

// startPM2 starts it.
func startPM2(s *stage, apps ...app) (manager, error) {
	if s.pm2Script == "" {
		return nil, absent(s.missing["pm2"])
	}
	p := &pm2{s, filepath.Join(s.dir, "pm2")}
	file, err := s.ecosystem(apps)
	if err != nil {
		return nil, err
	}
	if _, err := p.run("start", file); err != nil {
		return nil, err
	}
	return p, p.started(apps)
}

func (p *pm2) run(args ...string) (cost, error) {
	c, err := p.stage.run([]string{"PM2_HOME=" + p.home}, p.node, append([]string{p.pm2Script}, args...)...)
	if err != nil {
		// The daemon's log says why.
		if log, rerr := os.ReadFile(filepath.Join(p.home, "pm2.log")); rerr == nil {
			err = fmt.Errorf("%w\n%s", err, log[max(0, len(log)-2000):])
		}
	}
	return c, err
}

// started holds pm2 to what it was asked for: its own exit code says nothing of it.
func (p *pm2) started(apps []app) error {
	for _, a := range apps {
		want, _ := a["instances"].(int)
		for {
			pids, err := p.pids(a["name"].(string))
			if err != nil {
				return err
			}
			if len(pids) >= max(want, 1) {
				break
			}
			if err := pause(p.ctx, 200*time.Millisecond); err != nil {
				return errors.Join(fmt.Errorf("pm2 has %d workers of %d", len(pids), want), err)
			}
		}
	}
	return nil
}

// listed is what we ask of `pm2 jlist`.
type listed struct {
	Name string
	PID  int
	Env  struct {
		Status string
		Log    string `json:"pm_out_log_path"`
	} `json:"pm2_env"`
}

// online are the workers of an app that run.
func (p *pm2) online(name string) (workers []listed, err error) {
	out, err := p.run("jlist")
	if err != nil {
		return nil, err
	}
	var list []listed
	if err := json.Unmarshal([]byte(out.out), &list); err != nil {
		return nil, fmt.Errorf("%w: %.200s", err, out.out)
	}
	for _, w := range list {
		if w.Name == name && w.PID > 0 && w.Env.Status == "online" {
			workers = append(workers, w)
		}
	}
	return workers, nil
}

func (p *pm2) pids(name string) (pids []int, err error) {
	workers, err := p.online(name)
	for _, w := range workers {
		pids = append(pids, w.PID)
	}
	return pids, err
}

func (p *pm2) own() []proc { return p.notWorkers() }

func (p *pm2) log(name string) (string, error) {
	workers, err := p.online(name)
	if err != nil {
		return "", err
	}
	if len(workers) == 0 {
		return "", fmt.Errorf("pm2 does not run %s", name)
	}
	return workers[0].Env.Log, nil
}
