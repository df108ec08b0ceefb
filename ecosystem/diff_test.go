package ecosystem

import (
	"fmt"
	"testing"

	"supervisor/supervisor/state"
)

func TestDiffStories(t *testing.T) {
	const before = `apps:
  - {name: web, script: app.js, instances: 2, env: {A: 1, B: 2}}
  - {name: jobs, script: worker.py}
`
	for _, c := range []struct {
		story string
		after string
		state func(*Running)
		start string
		again string // reload
	}{
		{"nothing changed", before, nil, "web unchanged, jobs unchanged", "web replace, jobs replace"},
		{"an app added", before + "  - {name: new, script: server}\n", nil,
			"web unchanged, jobs unchanged, new start (new)", "web replace, jobs replace, new start (new)"},
		{"one added that does not start", before + "  - {name: new, script: server, autostart: false}\n", nil,
			"web unchanged, jobs unchanged, new start (new, stopped (autostart: false))", "web replace, jobs replace, new start (new, stopped (autostart: false))"},
		{"an app removed", "apps: [{name: jobs, script: worker.py}]", nil,
			"jobs unchanged, web delete (not in the file any more)", "jobs replace, web delete (not in the file any more)"},
		{"an app renamed", "apps: [{name: web, script: app.js, instances: 2, env: {A: 1, B: 2}}, {name: work, script: worker.py}]", nil,
			"web unchanged, work start (new), jobs delete (not in the file any more)", "web replace, work start (new), jobs delete (not in the file any more)"},
		{"the order turned round", "apps: [{name: jobs, script: worker.py}, {name: web, script: app.js, instances: 2, env: {A: 1, B: 2}}]", nil,
			"jobs unchanged, web unchanged", "jobs replace, web replace"},
		{"a variable removed", "apps: [{name: web, script: app.js, instances: 2, env: {A: 1}}, {name: jobs, script: worker.py}]", nil,
			"web reload [env], jobs unchanged", "web reload [env], jobs replace"},
		{"only instances", "apps: [{name: web, script: app.js, instances: 4, env: {A: 1, B: 2}}, {name: jobs, script: worker.py}]", nil,
			"web scale [instances] (instances 2 -> 4), jobs unchanged", "web reload [instances], jobs replace"},
		{"instances and listen", "apps: [{name: web, script: app.js, instances: 4, listen: 'tcp://:80', env: {A: 1, B: 2}}, {name: jobs, script: worker.py}]", nil,
			"web reload [instances listen], jobs unchanged", "web reload [instances listen], jobs replace"},
		{"stopped apps", before, func(r *Running) { r.Stopped = true },
			"web start (stopped), jobs start (stopped)", "web unchanged (stopped), jobs unchanged (stopped)"},
		{"errored apps", before, func(r *Running) { r.Errored = true },
			"web start (errored), jobs start (errored)", "web start (errored), jobs start (errored)"},
	} {
		var running []Running
		for _, spec := range parse(t, before, testOptions("eco.yaml")).Apps {
			r := Running{Spec: spec}
			if c.state != nil {
				c.state(&r)
			}
			running = append(running, r)
		}
		wanted := parse(t, c.after, testOptions("eco.yaml")).Apps
		if got := planText(Diff(running, wanted, state.VerbStart)); got != c.start {
			t.Errorf("%s: start: %s\nwant %s", c.story, got, c.start)
		}
		if got := planText(Diff(running, wanted, state.VerbReload)); got != c.again {
			t.Errorf("%s: reload: %s\nwant %s", c.story, got, c.again)
		}
	}
}

func planText(plan state.Plan) string {
	text := ""
	for i, app := range plan.Apps {
		if i > 0 {
			text += ", "
		}
		text += app.Name + " " + app.Action
		if len(app.Changed) > 0 {
			text += fmt.Sprint(" ", app.Changed)
		}
		if app.Why != "" {
			text += " (" + app.Why + ")"
		}
	}
	return text
}
