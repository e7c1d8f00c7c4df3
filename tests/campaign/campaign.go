// Package campaign is a load on one coupon with its journal, and what a test asks of it while it breaks
// things: is anything promised, is it promised again, and does the ledger balance in the end.
package campaign

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

// DrainWithin bounds how long claims may be on their way after the load has ended.
const DrainWithin = 30 * time.Second

// StateReader reads what the stores hold.
type StateReader func(context.Context) (*ledger.State, error)

// Campaign is a load that runs in the background.
type Campaign struct {
	Result load.Result // once it has ended

	t       *testing.T
	state   StateReader
	path    string
	journal *ledger.Journal
	stop    context.CancelFunc
	done    chan struct{}

	answers     [ledger.NotSent + 1]atomic.Int64
	lastPromise atomic.Int64 // the latest invoke_ns of an answer QUEUED
}

// Start starts the load; the options need not name a journal.
func Start(t *testing.T, state StateReader, options load.Options) *Campaign {
	t.Helper()
	return start(t, state, func(ctx context.Context, c *Campaign) load.Result {
		options.Journal, options.Observe = c.journal, c.observe
		if options.FirstUser == 0 {
			options.FirstUser = 1
		}
		return load.Run(ctx, options)
	})
}

// StartOpen starts a load that follows a schedule; the options need not name a journal.
func StartOpen(t *testing.T, state StateReader, options load.OpenOptions) *Campaign {
	t.Helper()
	observe := options.Observe
	return start(t, state, func(ctx context.Context, c *Campaign) load.Result {
		options.Journal = c.journal
		options.Observe = func(entry ledger.Entry, due time.Time) {
			c.observe(entry)
			if observe != nil {
				observe(entry, due)
			}
		}
		return load.Open(ctx, options)
	})
}

func start(t *testing.T, state StateReader, run func(context.Context, *Campaign) load.Result) *Campaign {
	t.Helper()
	c := &Campaign{t: t, state: state, path: filepath.Join(t.TempDir(), "journal.jsonl"), done: make(chan struct{})}
	journal, err := ledger.CreateJournal(c.path)
	if err != nil {
		t.Fatal(err)
	}
	c.journal = journal
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	go func() {
		defer close(c.done)
		c.Result = run(ctx, c)
	}()
	t.Cleanup(func() { stop(); <-c.done })
	return c
}

// Usual is the load of most tests: some users without a key, some twins, retries now and then.
func Usual(workers int, seed uint64) load.Options {
	return load.Options{Workers: workers, Seed: seed, KeylessShare: 0.2, TwinShare: 0.1, RetryShare: 0.5}
}

func (c *Campaign) observe(entry ledger.Entry) {
	c.answers[entry.Answer].Add(1)
	if entry.Answer != ledger.Queued {
		return
	}
	for last := c.lastPromise.Load(); entry.InvokeNs > last && !c.lastPromise.CompareAndSwap(last, entry.InvokeNs); {
		last = c.lastPromise.Load()
	}
}

// Note adds a request that the test made itself; not after Finish.
func (c *Campaign) Note(entry ledger.Entry) {
	c.journal.Add(entry)
	c.observe(entry)
}

// Count tells how many requests were answered so until now.
func (c *Campaign) Count(answer ledger.Answer) int64 { return c.answers[answer].Load() }

// AwaitAnswers waits until so many requests were answered so, or the load has ended.
func (c *Campaign) AwaitAnswers(answer ledger.Answer, count int64, within time.Duration) {
	c.t.Helper()
	if !stack.Until(within, func() bool { return c.Count(answer) >= count || c.Ended() }) {
		c.t.Fatalf("%d answers %v within %v, want %d", c.Count(answer), answer, within, count)
	}
}

// AwaitPromises waits until so many answers were QUEUED, or the load has ended.
func (c *Campaign) AwaitPromises(count int64, within time.Duration) {
	c.t.Helper()
	c.AwaitAnswers(ledger.Queued, count, within)
}

// AwaitRecovery waits for a promise to a request that was sent after the moment, and returns how
// long after it that was answered.
func (c *Campaign) AwaitRecovery(moment time.Time, within time.Duration) time.Duration {
	c.t.Helper()
	if !stack.Until(within, func() bool { return c.lastPromise.Load() > moment.UnixNano() || c.Ended() }) {
		c.t.Errorf("no answer QUEUED within %v after the fault", within)
	}
	return time.Since(moment)
}

// Ended tells whether the load has ended.
func (c *Campaign) Ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Stop ends the load, but for the requests on their way.
func (c *Campaign) Stop() { c.stop() }

// Finish waits for the load's own end, and closes the journal.
func (c *Campaign) Finish(within time.Duration) load.Result {
	c.t.Helper()
	if !stack.Until(within, c.Ended) {
		c.stop()
		<-c.done
		c.t.Errorf("the load had not ended after %v: %+v", within, c.Result)
	}
	if err := c.journal.Close(); err != nil {
		c.t.Fatal(err)
	}
	return c.Result
}

// Verdict judges the campaign; while the verdict is bad it is taken again, as claims may still be on
// their way, for so long. Returns how long it took to become good. Call it after Finish.
func (c *Campaign) Verdict(within time.Duration) (*ledger.Report, time.Duration) {
	c.t.Helper()
	began := time.Now()
	var report *ledger.Report
	stack.Until(within, func() bool {
		report = c.judge()
		return report.OK
	})
	return report, time.Since(began)
}

func (c *Campaign) judge() *ledger.Report {
	c.t.Helper()
	state, err := c.state(c.t.Context())
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

// RequireClean requires a good verdict once what is on its way has arrived.
func (c *Campaign) RequireClean() *ledger.Report {
	c.t.Helper()
	report, took := c.Verdict(DrainWithin)
	c.t.Logf("after %v: %s", took.Round(time.Millisecond), Text(c.t, report))
	if !report.OK {
		c.t.Error("the ledger does not balance")
	}
	return report
}

// Visit reads the journal; call it after Finish.
func (c *Campaign) Visit(visit func(*ledger.Entry)) {
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

// Text is a report for a test's log.
func Text(t *testing.T, report *ledger.Report) string {
	t.Helper()
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
