package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// maxLine bounds a line of a response's head, maxHeader their number,
	// maxBody what is taken of a body.
	maxLine   = 16 << 10
	maxHeader = 100
	maxBody   = 64 << 20
	// keptBody is how much of a body is looked at for a pid.
	keptBody = 64
)

// response is what a client needs to know of an answer (RFC 9112).
type response struct {
	status int
	pid    string
	// close: the connection ends with this answer.
	close bool
}

// head is the part before the body.
type head struct {
	response
	length  int64 // -1: not given
	chunked bool
}

// readResponse reads one whole answer. began is set at its first byte.
func readResponse(br *bufio.Reader, began *bool) (response, error) {
	if _, err := br.Peek(1); err != nil {
		return response{}, err
	}
	*began = true
	h, err := readHead(br)
	for err == nil && h.status < 200 {
		h, err = readHead(br) // 1xx: the answer proper follows
	}
	if err != nil {
		return response{}, err
	}
	body, err := readBody(br, &h)
	if err != nil {
		return response{}, err
	}
	if h.pid == "" {
		text := strings.TrimSpace(string(body))
		if _, err := strconv.Atoi(text); err == nil {
			h.pid = text
		}
	}
	return h.response, nil
}

// readHead reads the status line and the header fields.
func readHead(br *bufio.Reader) (head, error) {
	h := head{length: -1}
	line, err := readLine(br)
	if err != nil {
		return h, err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	h.status, err = strconv.Atoi(code)
	if err != nil || h.status < 100 || h.status > 999 || !strings.HasPrefix(version, "HTTP/1.") {
		return h, fmt.Errorf("status line %.80q", line)
	}
	h.close = version == "HTTP/1.0"
	for range maxHeader {
		line, err := readLine(br)
		if err != nil {
			return h, err
		}
		if line == "" {
			return h, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return h, fmt.Errorf("header line %.80q", line)
		}
		if err := h.set(strings.ToLower(name), strings.TrimSpace(value)); err != nil {
			return h, err
		}
	}
	return h, errors.New("too many header lines")
}

// set takes a header field that matters here.
func (h *head) set(name, value string) error {
	switch name {
	case "content-length":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 || n > maxBody {
			return fmt.Errorf("content-length %.80q", value)
		}
		h.length = n
	case "transfer-encoding":
		h.chunked = strings.EqualFold(value, "chunked")
	case "connection":
		for token := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.TrimSpace(token)) {
			case "close":
				h.close = true
			case "keep-alive":
				h.close = false
			}
		}
	case "x-pid":
		h.pid = value
	}
	return nil
}

// readBody reads the body to its end and returns its beginning.
func readBody(br *bufio.Reader, h *head) ([]byte, error) {
	switch {
	case h.status == 204 || h.status == 304:
		return nil, nil
	case h.chunked:
		return readChunks(br)
	case h.length >= 0:
		return readPart(br, h.length)
	}
	h.close = true // delimited by the end of the connection
	body, err := io.ReadAll(io.LimitReader(br, keptBody))
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(br, maxBody))
	}
	return body, err
}

// readPart reads n bytes and returns the first of them.
func readPart(br *bufio.Reader, n int64) ([]byte, error) {
	body := make([]byte, min(n, keptBody))
	if _, err := io.ReadFull(br, body); err != nil {
		return nil, err
	}
	_, err := io.CopyN(io.Discard, br, n-int64(len(body)))
	return body, err
}

// readChunks reads a chunked body with its trailers (RFC 9112, 7.1).
func readChunks(br *bufio.Reader) ([]byte, error) {
	var first []byte
	for {
		line, err := readLine(br)
		if err != nil {
			return nil, err
		}
		digits, _, _ := strings.Cut(line, ";")
		size, err := strconv.ParseInt(strings.TrimSpace(digits), 16, 64)
		if err != nil || size < 0 || size > maxBody {
			return nil, fmt.Errorf("chunk size %.80q", line)
		}
		if size == 0 {
			break
		}
		part, err := readPart(br, size)
		if err != nil {
			return nil, err
		}
		if len(first) < keptBody {
			first = append(first, part...)
		}
		if line, err := readLine(br); err != nil || line != "" {
			return nil, errors.Join(err, fmt.Errorf("chunk ends with %.80q", line))
		}
	}
	for range maxHeader {
		if line, err := readLine(br); err != nil || line == "" {
			return first, err
		}
	}
	return nil, errors.New("too many trailers")
}

// readLine reads a line of the head without its end. An answer that stops in
// the middle of one is io.ErrUnexpectedEOF.
func readLine(br *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return "", fmt.Errorf("line of more than %d bytes", maxLine)
		}
		if err == nil {
			break
		}
		if err == io.EOF {
			return "", io.ErrUnexpectedEOF
		}
		if err != bufio.ErrBufferFull {
			return "", err
		}
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}
