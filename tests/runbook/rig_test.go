package runbook

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

const (
	// The addresses of the pages, which are the product's defaults.
	restAddr, adminAddr, gatewayAdminAddr, recorderAdminAddr = "127.0.0.1:8080", "127.0.0.1:8082", "127.0.0.1:8081", "127.0.0.1:8083"
	redisURL, kafkaBrokers, mysqlURL                         = "redis://127.0.0.1:6379", "127.0.0.1:9092", "mysql://ecom:ecom@127.0.0.1:3306/ecommerce"

	// verifiedWithin bounds how long "Verify" may need to come true, commandWithin a command: a rehearsal.
	verifiedWithin, commandWithin = 60 * time.Second, 90 * time.Second
	// promisedWithin is how soon what was QUEUED is to be a row.
	promisedWithin = 5 * time.Second
	loadPerSecond  = 50

	// cannotRun is the least exit code by which a shell says that there is no such program.
	cannotRun = 126
	// outputShown bounds what the log of a walk shows of a command.
	outputShown = 4000
)

// rig is a machine on which a sale runs: the stack, one server that takes claims, and one that records them.
type rig struct {
	t        *testing.T
	s        *stack.Stack
	root     string
	recorder int // process id
	db       *sql.DB
	reader   *ledger.StackReader
	load     *campaign.Campaign
	users    int64
	log      *os.File
	ended    []func() // to do when the walk has ended
}

func newRig(t *testing.T) *rig {
	t.Helper()
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, root: root, users: 1_000_000}
	r.log, err = os.Create(filepath.Join(root, "build", "test-logs", "runbook-walks.log"))
	if errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%v: run it by tests/run, or make the folder", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.s = stack.NewReal(t, stack.DataDir(t), "ECOM_LOG_FORMAT=json", "COUPON_STOCK=1000000",
		"REDIS_URL="+redisURL, "KAFKA_BROKERS="+kafkaBrokers, "MYSQL_URL="+mysqlURL,
		"HTTP_ADDR="+restAddr, "GRPC_ADDR=127.0.0.1:50051", "ADMIN_ADDR="+adminAddr, "GATEWAY_ADMIN_ADDR="+gatewayAdminAddr,
		"ECOM_ROLES=api,reconciler")
	r.s.GatewayAdmin = gatewayAdminAddr
	r.s.Up()
	program := r.s.Make("run")
	r.recorder = r.s.With("ECOM_ROLES=recorder", "GRPC_ADDR=127.0.0.1:50052", "ADMIN_ADDR="+recorderAdminAddr).
		Run("", stack.Binary(t, "ecom-server")).PID()
	r.s.AwaitReady(program)
	r.db, err = sql.Open("mysql", "ecom:ecom@tcp(127.0.0.1:3306)/ecommerce")
	if err != nil {
		t.Fatal(err)
	}
	r.reader, err = ledger.OpenStack(ledger.StackAddrs{MySQLURL: mysqlURL, RedisURL: redisURL, KafkaBrokers: kafkaBrokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, closer := range []io.Closer{r.reader, r.db, r.log} {
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// startLoad asks for coupon 1 at a steady pace, each time as somebody else.
func (r *rig) startLoad() {
	r.users *= 10
	r.load = campaign.Start(r.t, func(ctx context.Context) (*ledger.State, error) { return r.reader.Read(ctx, 1) },
		load.Options{Addrs: []string{restAddr}, Coupon: 1, Workers: 16, PerSecond: loadPerSecond, FirstUser: r.users})
	r.awaitPromises(50)
}

// finishLoad requires that every promise of the walks so far was kept. (Rows of those whom the pages had ask are
// none of the load's.)
func (r *rig) finishLoad() {
	r.load.Stop()
	r.load.Finish(stack.StopWithin)
	var report *ledger.Report
	if !stack.Until(campaign.DrainWithin, func() bool {
		report, _ = r.load.Verdict(0)
		return report.Lost == 0 && report.Duplicated == 0 && report.OverIssued == 0
	}) {
		r.t.Error("a promise was broken")
	}
	promises := r.load.Count(ledger.Queued)
	if promises == 0 {
		r.t.Error("nothing was promised")
	}
	r.t.Logf("of %d promises: lost %d, duplicated %d, over-issued %d", promises, report.Lost, report.Duplicated, report.OverIssued)
}

// walk goes through a page as somebody would who was called.
func (r *rig) walk(w walk) {
	name := strings.TrimSuffix(w.page+"/"+w.name, "/")
	outer := r.t
	outer.Run(name, func(t *testing.T) {
		r.t = t
		defer func() { r.t = outer }()
		r.note("\n== %s\n", name)
		page := readPage(t, w.page)
		if w.begin != nil {
			w.begin(r)
			if _, ok := r.verified(&page, w); ok && !w.heals {
				t.Errorf("%s is verified while it is broken", name)
			}
		}
		for _, section := range page.sections {
			if section == "Verify" {
				r.verify(&page, w)
				continue
			}
			for _, c := range page.section(section, w.name) {
				r.step(c)
			}
		}
		for _, end := range r.ended {
			end()
		}
		r.ended = nil
	})
}

// step runs one command. It must succeed; what only looks must say something instead, as it may tell by its exit
// code what it sees.
func (r *rig) step(c command) {
	r.t.Helper()
	output, err := r.run(c.text)
	r.note("%s", transcript(c, output))
	if c.section == "See it" {
		var exit *exec.ExitError
		if strings.TrimSpace(output) == "" || err != nil && !(errors.As(err, &exit) && exit.ExitCode() < cannotRun) {
			r.t.Errorf("%s shows nothing: %v\n%s", c.text, err, output)
		}
		return
	}
	if err != nil {
		r.t.Errorf("%s: %v\n%s", c.text, err, output)
	}
}

// verify runs the commands under "Verify" until all of them succeed.
func (r *rig) verify(page *page, w walk) {
	r.t.Helper()
	began := time.Now()
	var shown string
	if !stack.Until(verifiedWithin, func() (ok bool) { shown, ok = r.verified(page, w); return ok }) {
		r.t.Errorf("not verified within %v:\n%s", verifiedWithin, shown)
		return
	}
	r.note("-- verified after %.1f s:\n%s", time.Since(began).Seconds(), shown)
}

// verified runs the commands under "Verify" up to the first that fails, and returns what they show.
func (r *rig) verified(page *page, w walk) (shown string, ok bool) {
	for _, c := range page.section("Verify", w.name) {
		output, err := r.run(c.text)
		shown += transcript(c, output)
		if err != nil {
			return shown, false
		}
	}
	return shown, true
}

// run runs a command of a page in the checkout, with the server's environment.
func (r *rig) run(text string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), commandWithin)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", "set -o pipefail\n"+text)
	shell.Dir, shell.Env = r.root, r.s.Environ()
	shell.WaitDelay = time.Second
	output, err := shell.CombinedOutput()
	return string(output), err
}

// shell runs a command of the test.
func (r *rig) shell(text string) string {
	r.t.Helper()
	output, err := r.run(text)
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", text, err, output)
	}
	return output
}

// exec is what somebody does in the database by hand.
func (r *rig) exec(query string) {
	r.t.Helper()
	if _, err := r.db.ExecContext(r.t.Context(), query); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
}

func (r *rig) note(format string, arguments ...any) {
	r.t.Helper()
	if _, err := fmt.Fprintf(r.log, format, arguments...); err != nil {
		r.t.Error(err)
	}
}

// transcript is what a terminal would show.
func transcript(c command, output string) string {
	if len(output) > outputShown {
		output = output[:outputShown] + "\n…"
	}
	if output != "" && !strings.HasSuffix(output, "\n") {
		output += "\n"
	}
	return "$ " + c.text + "\n" + output
}

func (r *rig) atEnd(do func()) { r.ended = append(r.ended, do) }

func (r *rig) signal(pid int, signal syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		r.t.Fatalf("process %d: %v", pid, err)
	}
}

// freeze stops a process until the page, or the test's end, lets it go on.
func (r *rig) freeze(pid int) {
	r.t.Helper()
	r.signal(pid, syscall.SIGSTOP)
}

// pidByPort finds who listens there.
func (r *rig) pidByPort(port int) int {
	r.t.Helper()
	var pid int
	if !stack.Until(stack.ReadyWithin, func() bool {
		_, text, _ := strings.Cut(r.shell(fmt.Sprintf("ss -Hltnp 'sport = :%d'", port)), "pid=")
		number, _, _ := strings.Cut(text, ",")
		var err error
		pid, err = strconv.Atoi(number)
		return err == nil
	}) {
		r.t.Fatalf("nobody listens on %d", port)
	}
	return pid
}

// supervisor is what `make run` has become.
func (r *rig) supervisor() int {
	r.t.Helper()
	pid, err := strconv.Atoi(strings.Fields(r.shell("pgrep -of 'compose/local/[r]un'"))[0])
	if err != nil {
		r.t.Fatal(err)
	}
	return pid
}

func (r *rig) awaitPromises(count int64) {
	r.t.Helper()
	r.load.AwaitPromises(r.load.Count(ledger.Queued)+count, stack.ReadyWithin)
}

func (r *rig) awaitAnswer(answer ledger.Answer) {
	r.t.Helper()
	r.load.AwaitAnswers(answer, r.load.Count(answer)+1, stack.ReadyWithin)
}

// awaitLetter waits for a dead letter that says so.
func (r *rig) awaitLetter(text string) {
	r.t.Helper()
	if !stack.Until(stack.ReadyWithin, func() bool {
		listed, err := r.run("build/release/bin/ecomctl dlt list")
		return err == nil && strings.Contains(listed, text)
	}) {
		r.t.Fatalf("no dead letter says %q", text)
	}
}

// claim asks for a coupon until it is QUEUED.
func (r *rig) claim(coupon, user int) {
	r.t.Helper()
	if !stack.Until(stack.ReadyWithin, func() bool {
		request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, fmt.Sprintf("http://%s/coupons/%d/issue", restAddr, coupon), nil)
		if err != nil {
			r.t.Fatal(err)
		}
		request.Header.Set("userId", strconv.Itoa(user))
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}) {
		r.t.Fatalf("user %d gets no coupon %d", user, coupon)
	}
}
