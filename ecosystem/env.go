package ecosystem

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/joho/godotenv"
)

// env reads a map of variables; values are taken as they are written.
func (v value) env() map[string]string {
	if v.n.null() {
		return nil
	}
	if v.n.kind != mapping {
		v.expects("a map of names and values (NAME: value)")
		return nil
	}
	env := make(map[string]string, len(v.n.fields))
	for _, f := range v.n.fields {
		one := value{v.a, f.value, join(v.path, f.key.text), ""}
		if wrong := wrongVariable(f.key.text); wrong != "" {
			v.a.complain(f.key, one.path, wrong)
			continue
		}
		switch {
		case f.value.kind != scalar:
			one.fail("expected one value, found %s: put it in quotes, as the text that the program shall get", f.value.show())
		case f.value.null():
			one.fail(`has no value: write "" for an empty one, or remove it`)
		default:
			env[f.key.text] = f.value.text
		}
	}
	return env
}

// wrongVariable says what is wrong with a variable's name (environ(7)).
func wrongVariable(name string) string {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Sprintf("%s is not a name of a variable", quote(name))
	}
	return ""
}

// environment reads env_NAME; only that of --env NAME gets into the spec.
func (a *app) environment(name string, v value) {
	a.environments[name] = true
	env := v.env()
	if a.options.EnvName != nil && *a.options.EnvName == name {
		a.named = env
	}
}

// readEnvFile reads one file or several, of which the later wins.
func readEnvFile(v value) {
	v.a.envFile = map[string]string{}
	switch v.n.kind {
	case list:
		for i := range v.n.items {
			v.item(i).envFile()
		}
	case scalar:
		v.envFile()
	default:
		v.expects("a file (for the environment of --env file, choose another name)")
	}
}

// envFile adds the variables of one file.
func (v value) envFile() {
	a, name := v.a, ""
	if !v.text(&name) || a.noCwd || a.options.Disk == nil {
		return
	}
	file := absolute(a.spec.Cwd, name)
	src, err := readFile(a.options.Disk, file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.fail("no such file: %s", file)
		return
	case err != nil:
		v.fail("cannot read %s: %v", file, err)
		return
	}
	env, err := godotenv.UnmarshalBytes(src)
	if err != nil {
		line, message := dotenvError(string(src), err)
		a.add(&a.complaints, Complaint{File: file, Line: line, Path: v.path, Message: message})
		return
	}
	for name, text := range env {
		if wrong := wrongVariable(name); wrong != "" || strings.ContainsRune(text, 0) {
			a.add(&a.complaints, Complaint{File: file, Line: 1, Path: v.path, Message: fmt.Sprintf("%s is not a line NAME=value", quote(name+text))})
			return
		}
	}
	maps.Copy(a.envFile, env)
}

// readFile reads a whole file of at most MaxFile bytes.
func readFile(disk fs.FS, file string) ([]byte, error) {
	info, err := stat(disk, file)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > MaxFile:
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", info.Size(), MaxFile)
	}
	src, err := fs.ReadFile(disk, rooted(file))
	return src, cause(err)
}

// dotenvError finds the line of godotenv's error, which quotes the text from
// the broken place on and has no number.
func dotenvError(src string, err error) (line int, message string) {
	src = strings.ReplaceAll(src, "\r\n", "\n")
	text := err.Error()
	if _, rest, ok := strings.Cut(text, " near "); ok {
		if tail, e := strconv.Unquote(rest); e == nil && strings.HasSuffix(src, tail) {
			before := src[:len(src)-len(tail)]
			first, _, _ := strings.Cut(tail, "\n")
			return strings.Count(before, "\n") + 1, fmt.Sprintf("%s is not a line NAME=value", quote(first))
		}
	}
	if _, rest, ok := strings.Cut(text, "unterminated quoted value "); ok {
		lines := strings.Split(src, "\n")
		at := slices.IndexFunc(lines, func(line string) bool { return strings.HasSuffix(line, rest) })
		return at + 1, fmt.Sprintf("the quote of %s is not closed", quote(rest))
	}
	return 1, text
}
