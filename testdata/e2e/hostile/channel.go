package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	longLine   = 100 << 20
	garbage    = 4 << 20
	perSecond  = 10_000
	handles    = 2000
	handleLine = `{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"a":1}}` + "\n"
)

// channel misuses the node channel.
func channel(how string) {
	fd, err := strconv.Atoi(os.Getenv("NODE_CHANNEL_FD"))
	if err != nil {
		fail("no channel: ", err)
	}
	f := os.NewFile(uintptr(fd), "node")
	say := func(b []byte) {
		if _, err := f.Write(b); err != nil {
			fail(err)
		}
	}
	say([]byte("\"ready\"\n"))
	switch how {
	case "ipc-long":
		part := bytes.Repeat([]byte("x"), 1<<20)
		for range 3 {
			say([]byte{'"'})
			for range longLine / len(part) {
				say(part)
			}
			say([]byte("\"\n"))
		}
	case "ipc-garbage":
		part := []byte(strings.Repeat("\x00\xff{\"[\n\"NODE_\r\n", 10_000))
		for n := 0; n < garbage; n += len(part) {
			say(part)
		}
	case "ipc-messages":
		message := []byte("{\"type\":\"process:msg\",\"data\":\"" + strings.Repeat("m", 1000) + "\"}\n")
		tick := time.NewTicker(time.Second / 100)
		for range 5 * 100 {
			say(bytes.Repeat(message, perSecond/100))
			<-tick.C
		}
	case "ipc-full":
		say([]byte(strings.Repeat(handleLine, handles)))
	}
	fmt.Println("said it all")
}
