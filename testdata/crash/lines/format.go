package lines

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
)

// Format takes off what the supervisor has put around a worker's line, which has no
// newline.
type Format func(line []byte) ([]byte, error)

// Raw is a line as the worker printed it.
func Raw(line []byte) ([]byte, error) { return line, nil }

// Stamped is a line behind a time that matches the expression.
func Stamped(expression string) Format {
	stamp := regexp.MustCompile("^(?:" + expression + ")")
	return func(line []byte) ([]byte, error) {
		at := stamp.FindIndex(line)
		if at == nil {
			return nil, errors.New("no time before it")
		}
		return line[at[1]:], nil
	}
}

// JSON is a line as an object with the keys that pm2 gives it.
func JSON(line []byte) ([]byte, error) {
	var object struct{ Message, Timestamp, Type string }
	if err := json.Unmarshal(line, &object); err != nil {
		return nil, err
	}
	if object.Timestamp == "" || object.Type != "out" {
		return nil, fmt.Errorf("timestamp %q, type %q", object.Timestamp, object.Type)
	}
	return bytes.TrimSuffix([]byte(object.Message), []byte("\n")), nil
}
