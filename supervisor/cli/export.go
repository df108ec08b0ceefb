package cli

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"

	ucli "github.com/urfave/cli/v2"

	"supervisor/ecosystem"
	"supervisor/supervisor/export"
	"supervisor/supervisor/state"
)

func exportCommand() *command {
	return &command{
		name: "export", args: "k8s|nomad FILE", min: 2, max: 2,
		usage: "print an ecosystem file as documents of Kubernetes or Nomad; what has no counterpart is a warning",
		codes: []int{state.ExitOK, state.ExitFailed, state.ExitUsage},
		flags: []ucli.Flag{
			&ucli.StringFlag{Name: "image", Usage: "`NAME`: the image that runs the apps; for nomad docker runs it, without one the exec driver what lies on the clients"},
			envFlag(), jsonFlag(),
		},
		passive: true,
		run:     runExport,
	}
}

// exportJSON is export's answer.
type exportJSON struct {
	Document string   `json:"document"`
	Warnings []string `json:"warnings"`
}

func runExport(s *session, c *ucli.Context) error {
	target, typed := c.Args().Get(0), c.Args().Get(1)
	switch {
	case target != "k8s" && target != "nomad":
		return usage("cannot export to %q: write k8s or nomad", target)
	case target == "k8s" && c.String("image") == "":
		return usage("export k8s needs --image NAME: a pod runs an image, such as registry.example/web:1")
	}
	path, err := s.file("export", typed)
	if err != nil {
		return err
	}
	var req state.Request
	if c.IsSet("env") {
		req.EnvName = new(c.String("env"))
	}
	eco, err := s.parseFile("export", typed, path, req)
	if err != nil {
		return err
	}
	apps, err := s.exported(eco)
	if err != nil {
		return failed("cannot export %s: %v", typed, err)
	}
	var document []byte
	var lost []export.Warning
	if target == "nomad" {
		document, lost = export.Nomad(jobName(path, eco), apps, c.String("image"))
	} else if document, lost, err = export.Kubernetes(apps, c.String("image")); err != nil {
		return failed("cannot export %s: %v", typed, err)
	}
	warnings := append(eco.Warnings.Lines(), placed(path, eco, lost)...)
	if at := eco.MetricsAt; eco.Metrics != nil {
		warnings = append(ecosystem.Complaints{{File: path, Line: at.Line, Col: at.Col, Path: at.Path,
			Message: "nobody answers there: a cluster has figures of its own"}}.Lines(), warnings...)
	}
	if s.json {
		s.out.json(exportJSON{string(document), list(warnings)})
		return nil
	}
	for _, w := range warnings {
		s.out.note("warning: " + w)
	}
	if _, err := s.out.out.Write(document); err != nil {
		return failed("cannot write the document: %v", err)
	}
	return nil
}

// exported are the apps of a file as package export takes them.
func (s *session) exported(eco *ecosystem.Ecosystem) ([]export.App, error) {
	var apps []export.App
	for i, spec := range eco.Apps {
		program, err := ecosystem.Find(spec, os.DirFS("/"), s.env.Getenv("PATH"))
		if err != nil {
			return nil, err
		}
		a := export.App{Spec: spec, Command: program.Command(spec), Built: program.Go, Written: map[string]string{}}
		for key, place := range eco.Written[i] {
			if key != "" {
				a.Written[key] = place.Text
			}
		}
		apps = append(apps, a)
	}
	return apps, nil
}

// jobName is the name of what a file describes: of its only app, or of its folder.
func jobName(path string, eco *ecosystem.Ecosystem) string {
	if len(eco.Apps) == 1 {
		return eco.Apps[0].Name
	}
	return filepath.Base(filepath.Dir(path))
}

// placed are the warnings with the places of their keys, in the file's order. A key that
// the file does not write is told at its app.
func placed(path string, eco *ecosystem.Ecosystem, lost []export.Warning) []string {
	var all ecosystem.Complaints
	for _, w := range lost {
		written := eco.Written[w.App]
		place, ok := written[w.Key]
		if !ok {
			place = written[""]
			place.Path += "." + w.Key
		}
		all = append(all, ecosystem.Complaint{File: path, Line: place.Line, Col: place.Col, Path: place.Path, Message: w.Why})
	}
	slices.SortStableFunc(all, func(a, b ecosystem.Complaint) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return all.Lines()
}
