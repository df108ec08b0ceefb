package cli_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"supervisor/ecosystem"
	"supervisor/supervisor/cli"
	"supervisor/supervisor/worker"
	"supervisor/testdata/e2e"
)

var update = flag.Bool("update", false, "write the generated parts of the README anew")

const readme = "../../README.md"

// TestREADMEIsTrue holds the generated parts of the README against the code.
func TestREADMEIsTrue(t *testing.T) {
	data, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, want := range map[string]string{
		"keys":          keyTable(),
		"commands":      cli.CommandTable(),
		"compatibility": e2e.CompatibilityTable(),
		"states":        "```mermaid\n" + worker.Diagram() + "```\n",
	} {
		text = part(t, text, name, want)
	}
	if *update {
		if err := os.WriteFile(readme, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// part compares what stands between a name's two marks with what it should be, and
// returns the text with that.
func part(t *testing.T, text, name, want string) string {
	t.Helper()
	begin, end := fmt.Sprintf("<!-- %s -->\n", name), fmt.Sprintf("<!-- /%s -->", name)
	before, rest, ok1 := strings.Cut(text, begin)
	is, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("the README has no part %q", name)
	}
	if is != want && !*update {
		t.Errorf("the README's %s are not what the code says: go test ./supervisor/cli -run README -update", name)
	}
	return before + begin + want + end + after
}

// keyTable is every key that does something now, those at the top of a file, then the
// names of those to come.
func keyTable() string {
	var b strings.Builder
	var later []string
	b.WriteString("| key | default | meaning |\n|---|---|---|\n")
	for _, k := range ecosystem.Keys() {
		switch k.Status {
		case ecosystem.Works:
			name := "`" + k.Name + "`"
			if len(k.Aliases) > 0 {
				name += " (`" + strings.Join(k.Aliases, "`, `") + "`)"
			}
			value := "–"
			if k.Default != "" {
				value = k.Default
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, value, strings.ReplaceAll(k.Meaning, "|", `\|`))
		case ecosystem.Later:
			later = append(later, "`"+k.Name+"`")
		}
	}
	b.WriteString("\nBeside `apps`, at the top of the file:\n\n| key | meaning |\n|---|---|\n")
	for _, k := range ecosystem.TopKeys() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", k.Name, k.Meaning)
	}
	fmt.Fprintf(&b, "\nRefused as not supported yet: %s.\n", strings.Join(later, ", "))
	return b.String()
}
