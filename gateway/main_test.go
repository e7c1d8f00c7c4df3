package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// asGateway makes this test's own binary run as the gateway.
const asGateway = "GATEWAY_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asGateway) != "" {
		main()
	}
	os.Exit(m.Run())
}

type process struct {
	command *exec.Cmd
	exited  chan struct{}
	mu      sync.Mutex
	log     bytes.Buffer
}

// spawn starts the gateway as a process and returns where it serves.
func spawn(t *testing.T, args ...string) (p *process, address string) {
	t.Helper()
	p = &process{command: exec.Command(os.Args[0], append(args, "--http-addr=127.0.0.1:0", "--gateway-admin-addr=127.0.0.1:0", "--data-dir="+t.TempDir())...), exited: make(chan struct{})}
	p.command.Env = append(os.Environ(), asGateway+"=1")
	out, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan string, 1)
	go func() {
		defer close(p.exited)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.mu.Lock()
			p.log.Write(append(lines.Bytes(), '\n'))
			p.mu.Unlock()
			var line struct{ Message, HTTP string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "serving" {
				serving <- line.HTTP
			}
		}
		_ = p.command.Wait() // the test reads the exit code
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill() // it has ended, unless the test failed
		<-p.exited
	})
	select {
	case address = <-serving:
	case <-p.exited:
		t.Fatalf("ended at once: %s", p.logged())
	case <-time.After(patience):
		t.Fatalf("does not serve: %s", p.logged())
	}
	return p, address
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (p *process) waitExit(t *testing.T) *os.ProcessState {
	t.Helper()
	select {
	case <-p.exited:
		return p.command.ProcessState
	case <-time.After(patience):
		t.Fatalf("does not end: %s", p.logged())
		panic("unreachable")
	}
}

func TestASignalStopsTheGatewayCleanly(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p, address := spawn(t, "--drain-grace=10ms")
		answer, err := http.Get("http://" + address + "/nope")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 404 {
			t.Errorf("status %d", answer.StatusCode)
		}
		p.signal(t, s)
		if state := p.waitExit(t); state.ExitCode() != 0 {
			t.Errorf("%v: %v: %s", s, state, p.logged())
		}
	}
}

func TestASecondSignalEndsTheGatewayAtOnce(t *testing.T) {
	p, _ := spawn(t, "--drain-grace=1m")
	p.signal(t, syscall.SIGTERM)
	for deadline := time.Now().Add(patience); !strings.Contains(p.logged(), `"draining"`); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("does not drain: %s", p.logged())
		}
	}
	p.signal(t, syscall.SIGTERM)
	if state := p.waitExit(t); state.ExitCode() != exitFailed {
		t.Errorf("ended as %v: %s", state, p.logged())
	}
}

func TestWhatCannotStartSaysSoAndExits78(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		args, environ []string
		says          string
	}{
		{[]string{"--tz=Mars/Olympus"}, nil, "Mars/Olympus"},
		{nil, []string{"ECOM_TYPO=1"}, "ECOM_TYPO"},
		{nil, []string{"ECOM_CONFIG=" + filepath.Join(t.TempDir(), "none")}, "none"},
		{[]string{"--http-addr=" + taken.Addr().String(), "--gateway-admin-addr=127.0.0.1:0"}, nil, "HTTP_ADDR"},
	} {
		var log bytes.Buffer
		if code := run(c.args, c.environ, io.Discard, &log); code != exitMisconfigured || !strings.Contains(log.String(), c.says) {
			t.Errorf("%q %q: exit %d, %s", c.args, c.environ, code, log.String())
		}
	}
}

func TestHelpAndPrintConfigExit0(t *testing.T) {
	for _, flag := range []string{"--help", "--print-config"} {
		var out bytes.Buffer
		if code := run([]string{flag}, nil, &out, io.Discard); code != 0 || !strings.Contains(out.String(), "HTTP_ADDR") {
			t.Errorf("%s: exit %d, %s", flag, code, out.String())
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestOutputThatCannotBeWrittenIsNoSuccess(t *testing.T) {
	for _, flag := range []string{"--help", "--print-config"} {
		if code := run([]string{flag}, nil, brokenWriter{}, io.Discard); code == 0 {
			t.Errorf("%s: exit 0", flag)
		}
	}
}
