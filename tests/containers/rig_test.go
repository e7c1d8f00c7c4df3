package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/stack"
)

// Where the gateway is reached, as docker-compose.yml has it.
const httpAddr = "127.0.0.1:8080"

// Bounds of waits, far above what is seen.
const (
	answerWithin  = 15 * time.Second // past every deadline of the service
	healthyWithin = 90 * time.Second // from the end of a container's process
	verdictWithin = 30 * time.Second
)

// always are the containers that run without a profile.
var always = []string{
	"ecom-app", "ecom-recorder", "ecom-gateway", "ecom-mysql", "ecom-redis", "ecom-cache", "ecom-kafka",
}

// system is the composed system, in the engine that DOCKER_HOST names.
type system struct {
	t    *testing.T
	root string
}

// fresh starts everything as `make up` does once the images are built, with nothing left of what was there before.
func fresh(t *testing.T) *system {
	t.Helper()
	if os.Getenv("DOCKER_HOST") == "" || os.Getenv("COMPOSE") == "" {
		t.Fatal("there is no engine for this test: make test-containers")
	}
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, root: root}
	t.Cleanup(func() {
		if t.Failed() {
			s.logs()
		}
	})
	s.compose("--profile", "*", "down", "--volumes")
	s.run("compose/make-secrets")
	s.compose("up", "--detach", "--wait")
	return s
}

// run runs a program in the checkout, and returns what it prints. A program that fails fails the test.
func (s *system) run(name string, args ...string) string {
	s.t.Helper()
	output, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, output)
	}
	return output
}

func (s *system) try(name string, args ...string) (string, error) {
	command := exec.Command(name, args...)
	command.Dir = s.root
	output, err := command.CombinedOutput()
	return string(output), err
}

// compose runs docker-compose on both files.
func (s *system) compose(args ...string) string {
	s.t.Helper()
	return s.run(os.Getenv("COMPOSE"), s.composeArgs(args...)...)
}

func (s *system) composeArgs(args ...string) []string {
	return append([]string{"-f", "compose/docker-compose.yml", "-f", "compose/docker-compose-monitoring.yml"}, args...)
}

// logs shows the end of what the containers wrote.
func (s *system) logs() {
	output, err := s.try(os.Getenv("COMPOSE"), s.composeArgs("--profile", "*", "logs", "--tail", "30")...)
	s.t.Logf("%v\n%s", err, output)
	output, err = s.try("docker", "ps", "--all")
	s.t.Logf("%v\n%s", err, output)
}

// container is what `docker inspect` tells of one.
type container struct {
	State struct {
		Pid    int
		Health struct{ Status string }
	}
	RestartCount int
	HostConfig   struct {
		ReadonlyRootfs bool
		Memory         int64
		NanoCpus       int64
		PidsLimit      int64
	}
}

func (s *system) inspect(name string) container {
	s.t.Helper()
	var found []container
	if err := json.Unmarshal([]byte(s.run("docker", "inspect", "--type", "container", name)), &found); err != nil {
		s.t.Fatal(err)
	}
	return found[0]
}

// sql runs statements in the database as root, as people do by hand.
func (s *system) sql(statements string) string {
	s.t.Helper()
	return s.shell(`docker exec -i ecom-mysql mysql -uroot -p"$(cat compose/secrets/mysql-root-password)" -N ecommerce <<<"$1"`,
		statements)
}

// shell runs a line of bash; $1 and so on are the arguments.
func (s *system) shell(line string, args ...string) string {
	s.t.Helper()
	return s.run("bash", append([]string{"-euo", "pipefail", "-c", line, "bash"}, args...)...)
}

// state reads what the stores hold of one coupon.
func (s *system) state(coupon int64) func(context.Context) (*ledger.State, error) {
	return func(ctx context.Context) (*ledger.State, error) {
		args := s.composeArgs("--profile", "tools", "--progress", "quiet", "run", "--rm", "--no-TTY", "--no-deps",
			"ledger", "--coupon="+strconv.FormatInt(coupon, 10))
		command := exec.CommandContext(ctx, os.Getenv("COMPOSE"), args...)
		command.Dir = s.root
		var complaints strings.Builder
		command.Stderr = &complaints
		output, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, complaints.String())
		}
		return ledger.ReadState(strings.NewReader(string(output)))
	}
}

// requireVerified waits until ecomctl finds a coupon's gate, log and rows in agreement.
func (s *system) requireVerified(coupon int64) {
	s.t.Helper()
	var output string
	var err error
	stack.Until(verdictWithin, func() bool {
		output, err = s.try("docker", "exec", "ecom-app", "ecomctl", "verify", "--coupon", strconv.FormatInt(coupon, 10))
		return err == nil
	})
	if err != nil {
		s.t.Errorf("coupon %d: %v\n%s", coupon, err, output)
	}
}

// get asks by HTTP, and decodes an answer in JSON.
func get(t *testing.T, url string, answer any) {
	t.Helper()
	client := http.Client{Timeout: answerWithin}
	defer client.CloseIdleConnections()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}
