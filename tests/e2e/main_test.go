// Package e2e tests the product as its users run it: `make run`, over its ports, with crashes.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
	"ecom/tests/wire"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Each test runs a whole installation: more than two at once measure each other.
	if err := flag.Set("test.parallel", "2"); err != nil {
		fail(err)
	}
	root, err := stack.Root()
	if err != nil {
		fail(err)
	}
	build := exec.Command("make", "build") // once, so that no test waits for the compiler
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		fail(fmt.Errorf("make build: %w\n%s", err, output))
	}
	os.Exit(m.Run())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// answerWithin is past every deadline of the service.
const answerWithin = 15 * time.Second

// send sends one request on a connection of its own, and fails the test when there is no answer.
func send(t *testing.T, addr, method, path string, headers ...string) *wire.Response {
	t.Helper()
	client := wire.NewClient(addr, answerWithin)
	defer client.Close()
	response, err := client.Do(method, wire.Request(method, path, headers, ""))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return response
}

// query runs SQL on the embedded store's file, read-only, and returns what the sqlite3 command prints.
func query(t *testing.T, dataDir, sql string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sqlite3", "-readonly", "-cmd", ".timeout 5000",
		filepath.Join(dataDir, "ecom.db"), sql)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", sql, err, output)
	}
	return strings.TrimSpace(string(output))
}

func queryNumber(t *testing.T, dataDir, sql string) int64 {
	t.Helper()
	number, err := strconv.ParseInt(query(t, dataDir, sql), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return number
}

// campaign is a load on coupon 1 of one installation, with its journal.
type campaign struct {
	t       *testing.T
	path    string
	journal *ledger.Journal
	stop    context.CancelFunc
	done    chan struct{}
	result  load.Result

	promises    atomic.Int64 // answers QUEUED
	lastPromise atomic.Int64 // the latest invoke_ns of an answer QUEUED
}

// startCampaign starts the load; options need not say where, and with which journal.
func startCampaign(t *testing.T, s *stack.Stack, options load.Options) *campaign {
	t.Helper()
	c := &campaign{t: t, path: filepath.Join(t.TempDir(), "journal.jsonl"), done: make(chan struct{})}
	journal, err := ledger.CreateJournal(c.path)
	if err != nil {
		t.Fatal(err)
	}
	c.journal = journal
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	options.Addr, options.Coupon, options.Journal, options.Observe = s.HTTP, 1, journal, c.observe
	if options.FirstUser == 0 {
		options.FirstUser = 1
	}
	go func() {
		defer close(c.done)
		c.result = load.Run(ctx, options)
	}()
	t.Cleanup(func() { stop(); <-c.done })
	return c
}

func (c *campaign) observe(entry ledger.Entry) {
	if entry.Answer != ledger.Queued {
		return
	}
	c.promises.Add(1)
	for last := c.lastPromise.Load(); entry.InvokeNs > last && !c.lastPromise.CompareAndSwap(last, entry.InvokeNs); {
		last = c.lastPromise.Load()
	}
}

// awaitPromises waits until so many answers were QUEUED, or the load has ended.
func (c *campaign) awaitPromises(count int64, within time.Duration) {
	c.t.Helper()
	if !stack.Until(within, func() bool { return c.promises.Load() >= count || c.ended() }) {
		c.t.Fatalf("%d answers QUEUED within %v, want %d", c.promises.Load(), within, count)
	}
}

// awaitRecovery waits for a promise to a request that was sent after the moment, and returns how
// long after it that was answered.
func (c *campaign) awaitRecovery(moment time.Time, within time.Duration) time.Duration {
	c.t.Helper()
	if !stack.Until(within, func() bool { return c.lastPromise.Load() > moment.UnixNano() || c.ended() }) {
		c.t.Errorf("no answer QUEUED within %v after the crash", within)
	}
	return time.Since(moment)
}

func (c *campaign) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// finish waits for the load's own end, and closes the journal.
func (c *campaign) finish(within time.Duration) load.Result {
	c.t.Helper()
	if !stack.Until(within, c.ended) {
		c.stop()
		<-c.done
		c.t.Errorf("the load had not ended after %v: %+v", within, c.result)
	}
	if err := c.journal.Close(); err != nil {
		c.t.Fatal(err)
	}
	return c.result
}

// verdict judges the campaign against the store's file; while the verdict is bad it is taken again,
// as claims may still be on their way, for so long. Returns how long it took to become good.
func (c *campaign) verdict(dataDir string, within time.Duration) (*ledger.Report, time.Duration) {
	c.t.Helper()
	started := time.Now()
	report := c.judge(dataDir)
	for !report.OK && time.Since(started) < within {
		report = c.judge(dataDir)
	}
	return report, time.Since(started)
}

func (c *campaign) judge(dataDir string) *ledger.Report {
	c.t.Helper()
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(ledger.SnapshotEmbedded(c.t.Context(), dataDir, writer)) }()
	state, err := ledger.ReadState(reader)
	if err != nil {
		c.t.Fatal(err)
	}
	journal, err := os.Open(c.path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer journal.Close()
	report, err := ledger.Check([]io.Reader{journal}, state, ledger.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	return report
}

// requireClean requires a good verdict once what is on its way has arrived.
func (c *campaign) requireClean(dataDir string) *ledger.Report {
	c.t.Helper()
	report, took := c.verdict(dataDir, 15*time.Second)
	c.t.Logf("after %v: %s", took.Round(time.Millisecond), text(c.t, report))
	if !report.OK {
		c.t.Error("the ledger does not balance")
	}
	return report
}

// visit reads the journal; call it after finish.
func (c *campaign) visit(visit func(*ledger.Entry)) {
	c.t.Helper()
	journal, err := os.Open(c.path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer journal.Close()
	if err := ledger.ReadJournal(journal, func(entry *ledger.Entry) error { visit(entry); return nil }); err != nil {
		c.t.Fatal(err)
	}
}

func text(t *testing.T, report *ledger.Report) string {
	t.Helper()
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// usual is the load of most tests: some users without a key, some twins, retries now and then.
func usual(workers int, seed uint64) load.Options {
	return load.Options{Workers: workers, Seed: seed, KeylessShare: 0.2, TwinShare: 0.1, RetryShare: 0.5}
}

// requireUnavailable checks the one answer that a service that is away may give.
func requireUnavailable(t *testing.T, response *wire.Response) {
	t.Helper()
	want := `{"code":"CM503","message":"일시적으로 서비스를 이용할 수 없습니다."}`
	if response.Status != http.StatusServiceUnavailable || strings.TrimSpace(string(response.Body)) != want ||
		response.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s, want 503 with Retry-After and %s", response.Status, response.Header, response.Body, want)
	}
}
