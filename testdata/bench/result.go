package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// result is results.json.
type result struct {
	Command  string            `json:"command"`
	When     time.Time         `json:"when"`
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rows     []rowResult       `json:"rows"`
}

// rowResult is what a row came to.
type rowResult struct {
	Name    string         `json:"name"`
	Title   string         `json:"title"`
	Note    string         `json:"note,omitempty"`
	Rounds  int            `json:"rounds"`
	When    time.Time      `json:"when"`
	Metrics []metricResult `json:"metrics"`
	Goals   []goalResult   `json:"goals,omitempty"`
}

// metricResult is one figure of all sides.
type metricResult struct {
	Name    string       `json:"name"`
	Title   string       `json:"title"`
	Unit    string       `json:"unit"`
	Picture bool         `json:"picture,omitempty"`
	Sides   []sideResult `json:"sides"`
}

// sideResult is one side's figure; Value is null where it is Missing.
type sideResult struct {
	Side    string    `json:"side"`
	Value   *float64  `json:"value"`
	Samples []float64 `json:"samples,omitempty"` // one for each round
	Missing string    `json:"missing,omitempty"` // why
}

// goalResult is a goal and what was reached: a value, or a ratio if it is against
// another side. Reached and Met are null where a side was not measured.
type goalResult struct {
	Side    string   `json:"side"`
	Metric  string   `json:"metric"`
	Against string   `json:"against,omitempty"`
	AtMost  float64  `json:"at_most,omitempty"`
	AtLeast float64  `json:"at_least,omitempty"`
	Zero    bool     `json:"zero,omitempty"` // at most 0
	Reached *float64 `json:"reached"`
	Met     *bool    `json:"met"`
}

// names of the files in the folder of results.
const (
	resultsJSON = "results.json"
	resultsSVG  = "results.svg"
)

// read reads the results on file.
func read(dir string) (result, error) {
	var r result
	data, err := os.ReadFile(filepath.Join(dir, resultsJSON))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w", resultsJSON, err)
	}
	return r, nil
}

// save writes both files.
func save(dir string, r result) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(r); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, resultsJSON), joinNumbers(b.Bytes()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, resultsSVG), []byte(svg(r)), 0o644)
}

// joinNumbers puts a list of numbers into one line, so that a diff of two results can
// be read.
func joinNumbers(data []byte) []byte {
	var out strings.Builder
	numbers := false
	for line := range strings.Lines(string(data)) {
		text := strings.TrimSpace(line)
		switch {
		case strings.HasSuffix(text, `"samples": [`):
			out.WriteString(strings.TrimRight(line, "\n"))
			numbers = true
		case numbers && strings.HasPrefix(text, "]"):
			out.WriteString(text + "\n")
			numbers = false
		case numbers:
			out.WriteString(strings.ReplaceAll(text, ",", ", "))
		default:
			out.WriteString(line)
		}
	}
	return []byte(out.String())
}

// put takes a row's result in the place of an older one.
func (r *result) put(got rowResult) {
	r.Rows = slices.DeleteFunc(r.Rows, func(old rowResult) bool { return old.Name == got.Name })
	r.Rows = append(r.Rows, got)
}

// sort brings the rows into the order of the source; one that is no more is dropped.
func (r *result) sort(order []row) {
	place := make(map[string]int)
	for i, o := range order {
		place[o.name] = i + 1
	}
	r.Rows = slices.DeleteFunc(r.Rows, func(got rowResult) bool { return place[got.Name] == 0 })
	slices.SortStableFunc(r.Rows, func(a, b rowResult) int { return place[a.Name] - place[b.Name] })
}

// side finds a side's figure.
func (r rowResult) side(metric, side string) *sideResult {
	for _, m := range r.Metrics {
		for i, s := range m.Sides {
			if m.Name == metric && s.Side == side {
				return &m.Sides[i]
			}
		}
	}
	return nil
}

// metric finds a metric.
func (r rowResult) metric(name string) metricResult {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m
		}
	}
	return metricResult{}
}

// round keeps four digits, which is more than the machine is good for.
func round(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}
