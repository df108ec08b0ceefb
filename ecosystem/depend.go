package ecosystem

import (
	"fmt"
	"slices"
	"strings"

	"supervisor/supervisor/state"
)

// Levels sorts apps so that each comes after those it depends on: the apps of
// one level depend on apps of earlier levels alone (by Dependencies), and stand
// in the order they were given in.
func Levels(specs []state.Spec) [][]state.Spec {
	needs := Dependencies(specs)
	depth := make([]int, len(specs)) // one more than its level, 0: not known yet
	var visit func(i int) int
	visit = func(i int) int {
		if depth[i] == 0 {
			depth[i] = 1
			for _, j := range needs[i] {
				depth[i] = max(depth[i], visit(j)+1)
			}
		}
		return depth[i]
	}
	var levels [][]state.Spec
	for i := range specs {
		for len(levels) < visit(i) {
			levels = append(levels, nil)
		}
	}
	for i, spec := range specs {
		levels[depth[i]-1] = append(levels[depth[i]-1], spec)
	}
	return levels
}

// Dependencies returns for each app the indexes of those it depends on itself. A
// name that is not among specs, or is another file's, binds nothing. Apps can be
// of two versions of a file, so that they wait for each other although Parse
// refuses that: what closes a circle is left out, there is always one to begin with.
func Dependencies(specs []state.Spec) [][]int {
	type key struct{ file, name string }
	at := make(map[key]int, len(specs))
	for i, s := range specs {
		at[key{s.File, s.Name}] = i
	}
	const entered, left = 1, 2
	marks := make([]int, len(specs))
	needs := make([][]int, len(specs))
	var visit func(i int)
	visit = func(i int) {
		marks[i] = entered
		for _, name := range specs[i].DependsOn {
			j, ok := at[key{specs[i].File, name}]
			if !ok || marks[j] == entered {
				continue
			}
			if marks[j] == 0 {
				visit(j)
			}
			needs[i] = append(needs[i], j)
		}
		marks[i] = left
	}
	for i := range specs {
		if marks[i] == 0 {
			visit(i)
		}
	}
	return needs
}

// readDependsOn reads the name of an app, or a list of them. Whether there are
// such apps is seen when all are known.
func readDependsOn(v value) {
	items := []value{v}
	switch {
	case v.n.null():
		return
	case v.n.kind == list:
		items = nil
		for i := range v.n.items {
			items = append(items, v.item(i))
		}
	case v.n.kind == mapping:
		v.expects("a list of apps")
		return
	}
	seen := map[string]bool{}
	for _, item := range items {
		var name string
		if !item.text(&name) || seen[name] {
			continue
		}
		seen[name] = true
		v.a.spec.DependsOn = append(v.a.spec.DependsOn, name)
		v.a.dependsAt = append(v.a.dependsAt, item)
	}
}

// dependencies complains about apps that are not there and apps that wait for
// each other, and warns where nobody would be waited for.
func (p *parser) dependencies(names map[string]*app) {
	for _, a := range p.apps {
		for i, name := range a.spec.DependsOn {
			if p.full() {
				return
			}
			at := a.dependsAt[i]
			on := names[name]
			switch {
			case on == nil:
				p.complain(at.n, at.path, p.noApp(name, names))
			case on == a:
				p.complain(at.n, at.path, fmt.Sprintf("%q depends on itself", name))
			case !on.spec.AutoStart && a.spec.AutoStart:
				p.warn(at.n, at.path, fmt.Sprintf("%q has autostart: false: nobody waits for it", name))
			}
		}
	}
	const entered, left = 1, 2
	marks := map[*app]int{}
	var way []*app
	var visit func(a *app)
	visit = func(a *app) {
		marks[a] = entered
		way = append(way, a)
		for i, name := range a.spec.DependsOn {
			on := names[name]
			switch {
			case on == nil || on == a || marks[on] == left:
			case marks[on] == entered:
				at := a.dependsAt[i]
				p.complain(at.n, at.path, circle(way[slices.Index(way, on):]))
			default:
				visit(on)
			}
		}
		marks[a] = left
		way = way[:len(way)-1]
	}
	for _, a := range p.apps {
		if marks[a] == 0 {
			visit(a)
		}
	}
	for _, a := range p.apps {
		slices.Sort(a.spec.DependsOn) // the order says nothing, so that a new one changes nothing
	}
}

// circle is the message about apps of which each depends on the next.
func circle(apps []*app) string {
	const shown = 8
	var names []string
	for _, a := range append(apps, apps[0]) {
		names = append(names, fmt.Sprintf("%q", a.spec.Name))
	}
	if len(names) > shown {
		names = append(append(names[:shown-1:shown-1], "..."), names[len(names)-1])
	}
	return "these apps wait for each other, so that none can start: " + strings.Join(names, " depends on ")
}

func (p *parser) noApp(name string, names map[string]*app) string {
	var known []string
	for have := range names {
		known = append(known, have)
	}
	slices.Sort(known)
	text := fmt.Sprintf("no app %s in this file", quote(name))
	if near := nearest(name, known); near != "" {
		return text + fmt.Sprintf(": did you mean %q?", near)
	}
	return text
}
