package ecosystem

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

// specs reads apps like "web:api,db api:db db", in one file unless they say "x/web".
func specs(text string) (all []state.Spec) {
	for word := range strings.FieldsSeq(text) {
		name, on, _ := strings.Cut(word, ":")
		file, name, ok := strings.Cut(name, "/")
		if !ok {
			file, name = "", file
		}
		s := state.Spec{Name: name, File: file}
		if on != "" {
			s.DependsOn = strings.Split(on, ",")
		}
		all = append(all, s)
	}
	return all
}

func names(levels [][]state.Spec) string {
	var texts []string
	for _, level := range levels {
		var names []string
		for _, s := range level {
			names = append(names, s.Name)
		}
		texts = append(texts, strings.Join(names, " "))
	}
	return strings.Join(texts, " | ")
}

func TestLevels(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"a b c":                "a b c",
		"web:api,db api:db db": "db | api | web",
		"gateway:goods,users goods:d users:d d log": "d log | goods users | gateway",
		"a:b":                "a",
		"x/a:b y/b":          "a b",
		"a:a b":              "a b",
		"a:b b:a c:a":        "b | a | c",
		"d:c,a c:b b:a a":    "a | b | c | d",
		"late:mid mid first": "mid first | late",
	} {
		if got := names(Levels(specs(text))); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestLevelsOfAnyGraph(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var all []state.Spec
		n := random.IntN(8)
		for i := range n {
			s := state.Spec{Name: fmt.Sprint(i)}
			for range random.IntN(4) {
				s.DependsOn = append(s.DependsOn, fmt.Sprint(random.IntN(n+1)))
			}
			all = append(all, s)
		}
		level := map[string]int{}
		for l, specs := range Levels(all) {
			if len(specs) == 0 {
				t.Fatalf("an empty level: %v", all)
			}
			for _, s := range specs {
				level[s.Name] = l
			}
		}
		if len(level) != n {
			t.Fatalf("%d of %d apps have a level: %v", len(level), n, all)
		}
		for i, needs := range Dependencies(all) {
			for _, j := range needs {
				if level[all[j].Name] >= level[all[i].Name] || !slices.Contains(all[i].DependsOn, all[j].Name) {
					t.Fatalf("%s does not come after %s: %v", all[i].Name, all[j].Name, all)
				}
			}
		}
	}
}
