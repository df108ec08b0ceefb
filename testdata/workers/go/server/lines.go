package main

import "supervisor/testdata/crash/lines"

func init() {
	printLines = func() (end func(), err error) {
		printer, err := lines.Start()
		if err != nil {
			return nil, err
		}
		return printer.End, nil
	}
}
