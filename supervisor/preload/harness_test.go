package preload

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// guard bounds what a test waits for; it is no measure of anything.
const guard = 20 * time.Second

// versions of Node that the promises hold for.
var versions = []string{"18", "20", "22", "24", "26"}

// tested are the versions, or those that NODES names; the oldest and the newest with
// -short.
func tested() []string {
	if nodes := os.Getenv("NODES"); nodes != "" {
		return strings.Split(nodes, ",")
	}
	if testing.Short() {
		return []string{versions[0], versions[len(versions)-1]}
	}
	return versions
}

const nodeDir = "testdata/node"

// modules installs, under CI, the versions of Node and the frameworks that the tests
// run; elsewhere a test is skipped until somebody has (npm ci in testdata/node).
var modules = sync.OnceValue(func() error {
	_, err := os.Stat(binary("26"))
	if err == nil || os.Getenv("CI") == "" {
		return err
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	npm.Dir, npm.Stdout, npm.Stderr = nodeDir, os.Stderr, os.Stderr
	return npm.Run()
})

func binary(version string) string {
	path, _ := filepath.Abs(filepath.Join(nodeDir, "node_modules", "node"+version, "bin", "node"))
	return path
}

// each runs a test with every version.
func each(t *testing.T, test func(t *testing.T, version string)) {
	need(t)
	for _, v := range tested() {
		t.Run("node"+v, func(t *testing.T) {
			t.Parallel() // they mostly wait
			test(t, v)
		})
	}
}

func need(t *testing.T) {
	t.Helper()
	if os.Getenv("NODES") == "none" { // they have a step of their own in .ci/run
		t.Skip("NODES=none")
	}
	if err := modules(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("run npm ci in supervisor/preload/%s: %v", nodeDir, err)
	}
}

// app is a program to run.
type app struct {
	version string
	script  string // in testdata/node/apps
	argv    []string
	env     []string
	bare    bool // without the preload
	message bool // the message shutdown is used
	listen  int  // a listening socket, or -1 for none
	ipc     int  // the far end of a channel, or -1
}

func newApp(version, script string, env ...string) app {
	return app{version: version, script: script, env: env, listen: -1, ipc: -1}
}

// node is a running program.
type node struct {
	t     *testing.T
	pid   int
	lines chan string
	port  string
	state *os.ProcessState
	ended chan struct{}
}

// start runs the app. What it prints goes to lines; it is killed with the test.
func (a app) start(t *testing.T) *node {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(nodeDir, "apps", a.script))
	if err != nil {
		t.Fatal(err)
	}
	argv := append(append([]string{"node"}, a.argv...), script)
	if a.script == "" {
		argv = argv[:len(argv)-1]
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	// Not os/exec: its Fd() would make the shared socket blocking for every holder.
	files := []uintptr{in.Fd(), in.Fd(), 2}
	env := append(os.Environ(), a.env...)
	if !a.bare {
		path, err := Install(t.TempDir(), 0o444)
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, Env(path, "", "SIGINT", a.message)...)
	}
	if a.listen >= 0 {
		env = append(env, "LISTEN_FD="+strconv.Itoa(len(files)))
		files = append(files, uintptr(a.listen))
	}
	if a.ipc >= 0 {
		env = append(env, "NODE_CHANNEL_FD="+strconv.Itoa(len(files)), "NODE_CHANNEL_SERIALIZATION_MODE=json")
		files = append(files, uintptr(a.ipc))
	}
	pid, _, err := syscall.StartProcess(binary(a.version), argv, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		out.Close()
		t.Fatal(err)
	}
	n := &node{t: t, pid: pid, lines: make(chan string, 1000), ended: make(chan struct{})}
	go n.read(out) // ends with the program
	go n.reap()    // ends with the program
	t.Cleanup(n.end)
	return n
}

func (n *node) read(out *os.File) {
	defer out.Close()
	defer close(n.lines)
	for scan := bufio.NewScanner(out); scan.Scan(); {
		n.lines <- scan.Text()
	}
}

func (n *node) reap() {
	defer close(n.ended)
	p, err := os.FindProcess(n.pid)
	if err == nil {
		n.state, _ = p.Wait()
	}
}

func (n *node) end() {
	select {
	case <-n.ended:
	default:
		unix.Kill(n.pid, unix.SIGKILL)
		<-n.ended
	}
	for range n.lines { // until it is closed: the reader has ended
	}
}

// next waits for a line that begins with a word, and returns its rest.
func (n *node) next(word string) string {
	n.t.Helper()
	timeout := time.After(guard)
	for {
		select {
		case line, ok := <-n.lines:
			if !ok {
				<-n.ended
				n.t.Fatalf("ended (%v) before it said %q", n.state, word)
			}
			if rest, found := strings.CutPrefix(line, word); found {
				return strings.TrimSpace(rest)
			}
		case <-timeout:
			n.t.Fatalf("did not say %q", word)
		}
	}
}

// serve waits until the program listens.
func (n *node) serve() *node {
	n.t.Helper()
	n.port = n.next("listening")
	return n
}

func (n *node) signal() {
	n.t.Helper()
	if err := unix.Kill(n.pid, unix.SIGINT); err != nil {
		n.t.Error(err)
	}
}

// exit waits for the end, and returns it in words: "exit status 0", "signal: ...".
func (n *node) exit() string {
	n.t.Helper()
	if !n.within(guard) {
		n.t.Fatal("still runs")
	}
	return n.state.String()
}

// within waits for the end, and says whether it came in time.
func (n *node) within(d time.Duration) bool {
	select {
	case <-n.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// wantExit waits for the end.
func (n *node) wantExit(want string) {
	n.t.Helper()
	if got := n.exit(); got != want {
		n.t.Errorf("ended with %q, want %q", got, want)
	}
}

func (n *node) dial() *conn {
	n.t.Helper()
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+n.port, guard)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return &conn{Conn: c, t: n.t, r: bufio.NewReader(c)}
}

// conn is a client's connection.
type conn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (c *conn) send(text string) {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(guard))
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) get(path string) { c.t.Helper(); c.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n") }

// head reads an answer's head, in lower case.
func (c *conn) head() string {
	c.t.Helper()
	var head strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v", head.String(), err)
		}
		head.WriteString(strings.ToLower(line))
		if line == "\r\n" {
			return head.String()
		}
	}
}

// body reads n bytes.
func (c *conn) body(n int) string {
	c.t.Helper()
	b := make([]byte, n)
	for i := range b {
		var err error
		if b[i], err = c.r.ReadByte(); err != nil {
			c.t.Fatalf("after %q: %v", b[:i], err)
		}
	}
	return string(b)
}

// rest reads until the server ends the connection in good order.
func (c *conn) rest() string {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(guard))
	var b strings.Builder
	for {
		x, err := c.r.ReadByte()
		if err != nil {
			if err.Error() != "EOF" {
				c.t.Errorf("after %q: %v", b.String(), err)
			}
			return b.String()
		}
		b.WriteByte(x)
	}
}

// sharedSocket listens on a free port as the supervisor does, for several processes.
func sharedSocket(t *testing.T) (fd int, address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, "127.0.0.1:" + strconv.Itoa(name.(*unix.SockaddrInet4).Port)
}

// certificate is one for 127.0.0.1, as the environment that the programs take it from.
var certificate = sync.OnceValues(func() ([]string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "preload"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return []string{
		"TLS_CERT=" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		"TLS_KEY=" + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}, nil
})
