// Package stack starts the product as its users do, with `make run`, on ports and in a folder of its
// own, and takes care that nothing of it outlives a test.
package stack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds of every wait. A start may have to look through the whole build for what is out of date,
// on a machine that other tests keep busy; each bound is far above what is seen.
const (
	ReadyWithin   = 60 * time.Second
	RestartWithin = 5 * time.Second // the contract's
	StopWithin    = 30 * time.Second
	pollEvery     = 5 * time.Millisecond
)

// Until waits until the condition holds, and tells whether it did before the deadline.
func Until(within time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(within)
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		<-ticker.C
	}
	return true
}

// Root returns the checkout: the nearest folder above the working directory with a Makefile and the
// CMake presets.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		_, errMake := os.Stat(filepath.Join(dir, "Makefile"))
		_, errPresets := os.Stat(filepath.Join(dir, "CMakePresets.json"))
		if errMake == nil && errPresets == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no checkout above the working directory")
		}
		dir = parent
	}
}

// Main builds what the tests of a package start, once, so that none of them waits for the compiler, and
// runs them. For TestMain; does not return.
func Main(m *testing.M) {
	if !flag.Parsed() {
		flag.Parse() // a wrong one is to be told before the build
	}
	root, err := Root()
	if err == nil {
		build := exec.Command("make", "build")
		build.Dir = root
		if output, failed := build.CombinedOutput(); failed != nil {
			err = fmt.Errorf("make build: %w\n%s", failed, output)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Binary returns the path of a built binary, and fails the test when there is none.
func Binary(t *testing.T, name string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "build", "release", "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("not built: %v", err)
	}
	return path
}

// DataDir makes a data folder with a short path, which the test deletes at its end.
func DataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ecom-")
	if err != nil {
		t.Fatal(err)
	}
	if err := outlives("folder", dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Stack is one installation: its addresses and folder stay the same over starts and stops.
type Stack struct {
	HTTP, GRPC, Admin, GatewayAdmin string // host:port
	DataDir                         string

	// Where the real stores are; "" on the embedded ones.
	RedisURL, KafkaBrokers, MySQLURL string

	t      *testing.T
	env    []string
	marker string
}

// New makes an installation that does not run yet. Further settings ("NAME=value") win over ours.
// Whatever it starts is killed when the test ends; its output is shown when the test failed.
func New(t *testing.T, dataDir string, settings ...string) *Stack {
	t.Helper()
	s := &Stack{
		HTTP: freeAddr(t), GRPC: freeAddr(t), Admin: freeAddr(t), GatewayAdmin: freeAddr(t),
		DataDir: dataDir, t: t, marker: "E2E_RUN=" + rand.Text(),
	}
	s.env = append(inherited(),
		"HTTP_ADDR="+s.HTTP, "GRPC_ADDR="+s.GRPC, "ADMIN_ADDR="+s.Admin, "GATEWAY_ADMIN_ADDR="+s.GatewayAdmin,
		"DATA_DIR="+s.DataDir, "ECOM_LOG_FORMAT=text", s.marker)
	s.env = append(s.env, settings...)
	if err := outlives("marker", s.marker); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.KillAll()
		if !Until(StopWithin, func() bool { return len(s.Processes()) == 0 }) {
			t.Errorf("survived kill -9: %v", s.Processes())
		}
	})
	return s
}

// In is the same installation in the hands of another test, such as a part of the one that made it:
// what is started through it ends with that test.
func (s *Stack) In(t *testing.T) *Stack {
	other := *s
	other.t = t
	return &other
}

// With is the same installation, started with further settings ("NAME=value").
func (s *Stack) With(settings ...string) *Stack {
	other := *s
	other.env = append(slices.Clone(s.env), settings...)
	return &other
}

// inherited is the environment without settings of the product and without make's own, so that a
// test under `make test` starts what a user would start.
func inherited() []string {
	var env []string
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		switch name {
		case "HTTP_ADDR", "GRPC_ADDR", "ADMIN_ADDR", "GATEWAY_ADMIN_ADDR", "DATA_DIR", "TZ", "BACKEND",
			"REDIS_URL", "CACHE_URL", "KAFKA_BROKERS", "MYSQL_URL", "KAFKA_HEAP_OPTS",
			"COUPON_STOCK", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR":
			continue
		}
		if !strings.HasPrefix(name, "ECOM_") && !strings.HasPrefix(name, "OTEL_") {
			env = append(env, setting)
		}
	}
	return env
}

// Environ is what the programs of this installation are started with.
func (s *Stack) Environ() []string { return slices.Clone(s.env) }

// Program is a started program with its output.
type Program struct {
	t       *testing.T
	command *exec.Cmd
	output  *lockedBuffer
	ended   chan struct{} // closed once the exit code is known
}

// Start starts `make run` and waits until the gateway is ready.
func (s *Stack) Start() *Program {
	s.t.Helper()
	program := s.Make("run")
	s.AwaitReady(program)
	return program
}

// Make starts `make` with these arguments, in a process group of its own.
func (s *Stack) Make(args ...string) *Program {
	s.t.Helper()
	root, err := Root()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.Run(root, "make", args...)
}

// Run starts any program with the installation's environment, in a process group of its own.
func (s *Stack) Run(dir, name string, args ...string) *Program {
	s.t.Helper()
	p := &Program{t: s.t, command: exec.Command(name, args...), output: &lockedBuffer{}, ended: make(chan struct{})}
	p.command.Dir = dir
	p.command.Env = s.env
	p.command.Stdout = p.output
	p.command.Stderr = p.output
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Children that outlive the program hold its output open: do not wait for them.
	p.command.WaitDelay = time.Second
	if err := p.command.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait() // ProcessState tells all there is to know
		close(p.ended)
	}()
	s.t.Cleanup(func() {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // gone already, as a rule
		<-p.ended
		if s.t.Failed() {
			s.t.Logf("%s %s:\n%s", filepath.Base(name), strings.Join(args, " "), p.Output())
		}
	})
	return p
}

// AwaitReady waits until the gateway says that it is ready, or fails the test.
func (s *Stack) AwaitReady(p *Program) {
	s.t.Helper()
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	ready := Until(ReadyWithin, func() bool {
		if p.Ended() {
			return true
		}
		answer, err := client.Get("http://" + s.GatewayAdmin + "/health/ready")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	if p.Ended() {
		s.t.Fatalf("ended with exit code %d before it was ready", p.ExitCode())
	}
	if !ready {
		s.t.Fatalf("not ready within %v", ReadyWithin)
	}
}

// PID is the program's, and its process group's.
func (p *Program) PID() int { return p.command.Process.Pid }

// Ended tells whether the program has ended.
func (p *Program) Ended() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// ExitCode returns the code of a program that has ended; -1 when a signal ended it.
func (p *Program) ExitCode() int { return p.command.ProcessState.ExitCode() }

// Output is all that it wrote so far to its standard output and error.
func (p *Program) Output() string { return p.output.String() }

// AwaitEnd waits until the program has ended, and returns its exit code.
func (p *Program) AwaitEnd(within time.Duration) int {
	p.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.ExitCode()
	case <-timer.C:
		p.t.Fatalf("still running after %v", within)
		return -1
	}
}

// Signal sends a signal to the program itself, not to its children.
func (p *Program) Signal(signal syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.PID(), signal); err != nil {
		p.t.Fatal(err)
	}
}

// Interrupt does what Ctrl-C does in a terminal: the whole process group gets SIGINT.
func (p *Program) Interrupt() {
	p.t.Helper()
	if err := syscall.Kill(-p.PID(), syscall.SIGINT); err != nil {
		p.t.Fatal(err)
	}
}

// Stop stops the program with SIGTERM and requires exit code 0.
func (p *Program) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.AwaitEnd(StopWithin); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// Process is one process of an installation.
type Process struct {
	PID  int
	Name string // of the executable
}

// Processes finds everything that was started for this installation and still runs, whoever its
// parent is now.
func (s *Stack) Processes() []Process {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.t.Fatal(err)
	}
	var found []Process
	for _, folder := range folders {
		if !s.owns(folder) {
			continue
		}
		executable, err := os.Readlink(filepath.Join(folder, "exe"))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			s.t.Fatal(err)
		}
		found = append(found, Process{pid, strings.TrimSuffix(filepath.Base(executable), " (deleted)")})
	}
	return found
}

// owns tells whether a process, by its folder in /proc, is of this installation. A Redis writes over
// its environment; but it works in its data folder.
func (s *Stack) owns(folder string) bool {
	environment, err := os.ReadFile(filepath.Join(folder, "environ"))
	if err == nil && bytes.Contains(environment, []byte(s.marker)) {
		return true
	}
	if s.RedisURL == "" {
		return false
	}
	cwd, err := os.Readlink(filepath.Join(folder, "cwd"))
	return err == nil && strings.HasPrefix(cwd, s.storeFolder("")+"/")
}

// Find returns the process of this installation with that name, or 0: a store's, or one whose
// executable's name starts so.
func (s *Stack) Find(name string) int {
	if slices.Contains(Stores, name) {
		return s.findStore(name)
	}
	for _, process := range s.Processes() {
		if strings.HasPrefix(process.Name, name) {
			return process.PID
		}
	}
	return 0
}

// Kill kills that process with SIGKILL, and fails the test when there is none.
func (s *Stack) Kill(name string) {
	s.t.Helper()
	s.signal(name, syscall.SIGKILL)
}

// Freeze stops that process with SIGSTOP: its connections stand, and nobody answers.
func (s *Stack) Freeze(name string) {
	s.t.Helper()
	s.signal(name, syscall.SIGSTOP)
}

// Thaw lets a frozen process go on.
func (s *Stack) Thaw(name string) {
	s.t.Helper()
	s.signal(name, syscall.SIGCONT)
}

func (s *Stack) signal(name string, signal syscall.Signal) {
	s.t.Helper()
	var pid int
	if !Until(RestartWithin, func() bool { pid = s.Find(name); return pid != 0 }) {
		s.t.Fatalf("no %s among %v", name, s.Processes())
	}
	if err := syscall.Kill(pid, signal); err != nil {
		s.t.Fatal(err)
	}
}

// KillAll kills everything of this installation with SIGKILL, and what it starts meanwhile.
func (s *Stack) KillAll() {
	Until(StopWithin, func() bool {
		processes := s.Processes()
		for _, process := range processes {
			_ = syscall.Kill(process.PID, syscall.SIGKILL) // may just have ended
		}
		return len(processes) == 0
	})
}

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// freeAddr picks a loopback port that nothing listens on, below the range that the kernel gives to
// outgoing connections: so a restart finds it free again even under load.
func freeAddr(t *testing.T) string {
	t.Helper()
	return freeAddrs(t, 0)
}

// freeAddrs picks a port such that the one that lies further up by that much is free as well.
func freeAddrs(t *testing.T, further int) string {
	t.Helper()
	const lowest = 10240
	highest := 32767
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if low, err := strconv.Atoi(strings.Fields(string(text))[0]); err == nil && low > lowest+1000 {
			highest = low - 1
		}
	}
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = map[int]bool{}
	}
	for range 1000 {
		offset, err := rand.Int(rand.Reader, big.NewInt(int64(highest-further-lowest)))
		if err != nil {
			t.Fatal(err)
		}
		port := lowest + int(offset.Int64())
		if !isFree(port) || !isFree(port+further) {
			continue
		}
		ports.taken[port], ports.taken[port+further] = true, true
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	t.Fatal("no free port")
	return ""
}

func isFree(port int) bool {
	if ports.taken[port] {
		return false
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	return err == nil && listener.Close() == nil
}

// lockedBuffer keeps a program's output, at most outputMax bytes of it.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte
}

const outputMax = 4 << 20 // a test's log; a program that says more has gone mad

func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, text[:min(len(text), outputMax-len(b.text))]...)
	return len(text), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
