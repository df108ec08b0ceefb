// Command bench measures the supervisor beside what people would pick instead, on this
// machine and on the same work:
//
//	go run ./testdata/bench                 everything but the row with 1,000 workers
//	go run ./testdata/bench -scale          that too (minutes more)
//	go run ./testdata/bench -only list,logs some rows; -rows names them
//	go run ./testdata/bench -readme         the README's part, from the results on file
//
// The sides of a row are measured in turns, for several rounds, and compared by the
// median over the rounds: of the values, and of the ratios within each round, so that a
// machine that gets slower for a while is slower for all. A row knows its goals, and the
// result says of each whether it was met. What is written is results.json and
// results.svg (in -out), and the README's part is generated from the former, so no
// figure there was typed by anyone; a test compares them.
//
// The supervisor is built from this checkout, as a release is. pm2 and the version of
// Node that runs everything here are installed into the user's cache by the lock in the
// folder node (npm ci); PM2 and NODE in the environment, paths of pm2/bin/pm2 and of
// node, are taken instead. gunicorn and nginx are what the machine has; what is missing
// is left out, and the result says so.
//
// Every process that is started here, by whomever, has a mark in its environment. A
// side ends with SIGKILL to all that have its mark, one by one, by pidfd; so does the
// command when it is interrupted. Each side has a folder and a SUPERVISOR_HOME or
// PM2_HOME of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// options are the command's flags.
type options struct {
	rounds int
	only   []string
	quick  bool
	scale  bool
	merge  bool
	readme bool
	rows   bool
	out    string // a folder; empty: nothing is written
	log    io.Writer
}

const defaultRounds = 5

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parse reads the flags.
func parse(args []string) (options, error) {
	o := options{log: os.Stderr}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.IntVar(&o.rounds, "rounds", defaultRounds, "`N` of rounds; rows that take long have fewer")
	only := set.String("only", "", "comma-separated `rows` to measure; -rows names them")
	set.BoolVar(&o.quick, "quick", false, "a few cheap rows, one round: to see that it runs; npm is not asked")
	set.BoolVar(&o.scale, "scale", false, "the row with 1,000 workers too")
	set.BoolVar(&o.merge, "merge", false, "keep the rows of results.json that are not measured now")
	set.BoolVar(&o.readme, "readme", false, "write the README's part from results.json; measure nothing")
	set.BoolVar(&o.rows, "rows", false, "name the rows; measure nothing")
	set.StringVar(&o.out, "out", "", "`folder` for results.json and results.svg; default testdata/bench, but nothing is written with -only or -quick")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("%q: no arguments are taken", set.Arg(0))
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if o.out == "" && (o.readme || *only == "" && !o.quick) {
		root, err := moduleRoot()
		if err != nil {
			return o, err
		}
		o.out = filepath.Join(root, "testdata", "bench")
	}
	return o, nil
}

// command is what was typed, as far as it says what was measured.
func (o options) command() string {
	text := "go run ./testdata/bench"
	if o.quick {
		text += " -quick"
	}
	if o.scale {
		text += " -scale"
	}
	if o.rounds != defaultRounds {
		text += fmt.Sprintf(" -rounds %d", o.rounds)
	}
	if len(o.only) > 0 {
		text += " -only " + strings.Join(o.only, ",")
	}
	return text
}

// run does what the flags say.
func run(ctx context.Context, o options) error {
	switch {
	case o.rows:
		for _, r := range rows() {
			fmt.Printf("%-16s %s\n", r.name, r.title)
		}
		return nil
	case o.readme:
		result, err := read(o.out)
		if err != nil {
			return err
		}
		return errors.Join(save(o.out, result), writeReadme(result)) // the picture too
	}
	chosen, err := choose(rows(), o)
	if err != nil {
		return err
	}
	t, err := newTools(ctx, o)
	if err != nil {
		return err
	}
	defer t.close()
	result := t.describe(o)
	if o.merge {
		old, err := read(o.out)
		if err != nil {
			return err
		}
		result.Rows = old.Rows
	}
	var failed error
	for i, r := range chosen {
		fmt.Fprintf(o.log, "[%d/%d] %s\n", i+1, len(chosen), r.title)
		got, err := measure(ctx, t, r, o)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = errors.Join(failed, err)
		result.put(got)
		fmt.Fprint(o.log, rowText(got))
	}
	result.sort(rows())
	fmt.Print(text(result))
	if o.out != "" {
		failed = errors.Join(failed, save(o.out, result))
	}
	return failed
}

// choose picks the rows to measure.
func choose(all []row, o options) (chosen []row, err error) {
	known := make(map[string]bool)
	for _, r := range all {
		known[r.name] = true
	}
	wanted := make(map[string]bool)
	for _, name := range o.only {
		if !known[name] {
			return nil, fmt.Errorf("no row %q; -rows names them", name)
		}
		wanted[name] = true
	}
	for _, r := range all {
		switch {
		case len(wanted) > 0 && !wanted[r.name],
			len(wanted) == 0 && o.quick && !r.quick,
			len(wanted) == 0 && r.scale && !o.scale:
			continue
		}
		chosen = append(chosen, r)
	}
	return chosen, nil
}
