package cli

import (
	"errors"
	"os"
	"runtime"

	"supervisor/ecosystem"
	"supervisor/supervisor/state"
)

// checked is a file that is valid.
type checked struct {
	Apps     []string
	Specs    []state.Spec
	Warnings []string
}

// maxFile bounds an ecosystem's size, in bytes.
const maxFile = 4 << 20

// checkFile parses and validates an ecosystem as the daemon would. Every
// complaint is a detail of the error, which has exit code 2.
func (s *session) checkFile(verb, typed, path string, req state.Request) (checked, error) {
	eco, err := s.parseFile(verb, typed, path, req)
	if err != nil {
		return checked{}, err
	}
	ok := checked{Apps: []string{}, Specs: eco.Apps, Warnings: eco.Warnings.Lines()}
	for _, a := range eco.Apps {
		ok.Apps = append(ok.Apps, a.Name)
	}
	return ok, nil
}

// parseFile is checkFile that returns all that the file says.
func (s *session) parseFile(verb, typed, path string, req state.Request) (*ecosystem.Ecosystem, error) {
	cannot := func(err error) error {
		return usage("cannot %s %s: %v", verb, typed, err)
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		err = errors.New("the file is larger than 4 MiB")
	}
	if err != nil {
		return nil, cannot(err)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, cannot(err)
	}
	eco, err := ecosystem.Parse(src, ecosystem.Options{
		File: path, EnvName: req.EnvName, Instances: req.Instances, Rename: req.Rename,
		CPUs: runtime.NumCPU(), Disk: os.DirFS("/"), Path: s.env.Getenv("PATH"),
	})
	var complaints ecosystem.Complaints
	if errors.As(err, &complaints) {
		return nil, &state.Error{
			Code:    state.ExitUsage,
			Message: "cannot " + verb + " " + typed + ": " + plural(len(complaints), "complaint"),
			Details: complaints.Lines(),
		}
	}
	if err != nil {
		return nil, cannot(err)
	}
	return eco, nil
}

// sample is what init writes.
func sample() []byte { return ecosystem.Sample() }
