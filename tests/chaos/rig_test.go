package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

// Bounds of a recovery, from the moment at which what was broken works again to the answer QUEUED of
// a request that was sent after it.
const (
	// processBackWithin is the contract's, for a process that was killed.
	processBackWithin = 5 * time.Second
	// recordedBackWithin is for a recorder that was killed: its place is free at once, but a broker
	// in the middle of a rebalance ends that first, after up to the session timeout of 6 s.
	recordedBackWithin = 15 * time.Second
	// gateBackWithin is for a gate that is built anew: the ack deadline of 2 s, in which a promise of
	// the old gate may still be sent, the reconciler's interval, and the drain of the log.
	gateBackWithin = 10 * time.Second

	// ackDeadline is how long after the gate was asked QUEUED may be answered; ackMargin what a
	// request may wait before, and its answer after that, on a busy machine.
	ackDeadline = 2 * time.Second
	ackMargin   = time.Second
)

// rig is what the trials share.
type rig struct {
	t       *testing.T
	seed    uint64
	s       *stack.Stack
	program *stack.Program // `make run`; nil while a trial runs servers of its own
	db      *sql.DB
	gate    *redis.Client
	kafka   *kgo.Client
	admin   *kadm.Client
	reader  *ledger.StackReader
	coupons int64
	rows    []tableRow
}

// tableRow is what is reported of one trial.
type tableRow struct {
	Fault         string `json:"fault"`
	Count         int    `json:"count"`
	RecoveryP50MS int64  `json:"recovery_p50_ms"`
	RecoveryMaxMS int64  `json:"recovery_max_ms"`
	Queued        int    `json:"queued"`
	Lost          int    `json:"lost"`
	Duplicated    int    `json:"duplicated"`
	OverIssued    int64  `json:"over_issued"`
	Seconds       int64  `json:"seconds"`
	OK            bool   `json:"ok"`
}

func newRig(t *testing.T, seed uint64) *rig {
	t.Helper()
	r := &rig{t: t, seed: seed, s: stack.NewReal(t, stack.DataDir(t), "ECOM_LOG_FORMAT=json"), coupons: 1000}
	r.s.Up()
	r.start(r.s)

	address, err := url.Parse(r.s.MySQLURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	if err := mysql.SetLogger(&mysql.NopLogger{}); err != nil { // connections end when a trial ends them
		t.Fatal(err)
	}
	r.db, err = sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)%s?parseTime=true",
		address.User.Username(), password, address.Host, address.Path))
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(r.s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries = -1 // what a trial does, it does once
	r.gate = redis.NewClient(options)
	r.kafka, err = kgo.NewClient(kgo.SeedBrokers(r.s.KafkaBrokers), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	r.admin = kadm.NewClient(r.kafka)
	r.reader, err = ledger.OpenStack(ledger.StackAddrs{
		MySQLURL: r.s.MySQLURL, RedisURL: r.s.RedisURL, KafkaBrokers: r.s.KafkaBrokers,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.kafka.Close()
		for _, closer := range []interface{ Close() error }{r.reader, r.gate, r.db} {
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// start starts `make run` with the settings of s, which must be the rig's own or made of it: what a
// trial's starts ends with the trial.
func (r *rig) start(s *stack.Stack) { r.program = s.Start() }

// stop stops `make run`; it is started again when the trial ends.
func (r *rig) stop() {
	if program := r.program; program != nil {
		r.program = nil
		program.Stop()
	}
}

// trial is one fault, or one kind of it, on a coupon of its own.
type trial struct {
	*rig
	t      *testing.T
	s      *stack.Stack
	ctx    context.Context // not done before the cleanup is
	random *rand.Rand
	began  time.Time

	coupon     int64
	total      int64
	c          *campaign.Campaign
	sellOut    context.CancelFunc // ends the pace of the load
	recoveries []time.Duration
	row        tableRow
	settled    bool
}

func (r *rig) begin(t *testing.T, name string) *trial {
	t.Helper()
	r.coupons++
	x := &trial{
		rig: r, t: t, s: r.s.In(t), ctx: context.WithoutCancel(t.Context()), began: time.Now(), coupon: r.coupons,
		random: rand.New(rand.NewPCG(r.seed, uint64(r.coupons))), row: tableRow{Fault: name},
		sellOut: func() {},
	}
	t.Cleanup(x.end)
	return x
}

// end notes the trial in the table, closes its coupon and leaves a product that runs for the next one.
func (x *trial) end() {
	x.t.Helper()
	x.row.OK = x.settled && !x.t.Failed()
	x.row.Seconds = int64(time.Since(x.began).Seconds())
	if len(x.recoveries) > 0 {
		slices.Sort(x.recoveries)
		x.row.RecoveryP50MS = x.recoveries[len(x.recoveries)/2].Milliseconds()
		x.row.RecoveryMaxMS = x.recoveries[len(x.recoveries)-1].Milliseconds()
	}
	x.rig.rows = append(x.rig.rows, x.row)
	if x.t.Failed() {
		x.heal()
	}
	if x.program == nil {
		x.start(x.rig.s)
	}
	if x.total > 0 {
		x.exec("UPDATE coupons SET starts_at = '2000-01-01', ends_at = '2000-01-02' WHERE id = ?", x.coupon)
	}
}

// heal puts right what a trial that failed half-way has left broken.
func (x *trial) heal() {
	x.t.Helper()
	for _, store := range stack.Stores {
		if x.rig.s.Find(store) != 0 {
			x.rig.s.Thaw(store)
		}
	}
	x.rig.s.Up()
	for _, command := range [][]any{{"CONFIG", "SET", "maxmemory", "0"}, {"REPLICAOF", "NO", "ONE"}, {"CLIENT", "UNPAUSE"}} {
		if err := x.gate.Do(x.ctx, command...).Err(); err != nil {
			x.t.Errorf("%v: %v", command, err)
		}
	}
}

// offer makes the trial's coupon, as a person would: by a row.
func (x *trial) offer(stock int64) {
	x.t.Helper()
	x.total = stock
	x.exec("INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at, ends_at)"+
		" VALUES (?, ?, ?, ?, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, UTC_TIMESTAMP(6) + INTERVAL 1 DAY)",
		x.coupon, x.row.Fault, stock, stock)
}

func (x *trial) exec(query string, arguments ...any) {
	x.t.Helper()
	if _, err := x.db.ExecContext(x.ctx, query, arguments...); err != nil {
		x.t.Fatalf("%s: %v", query, err)
	}
}

func (x *trial) number(query string, arguments ...any) int64 {
	x.t.Helper()
	var number int64
	if err := x.db.QueryRowContext(x.ctx, query, arguments...).Scan(&number); err != nil {
		x.t.Fatalf("%s: %v", query, err)
	}
	return number
}

func (x *trial) rowCount() int64 {
	x.t.Helper()
	return x.number("SELECT COUNT(*) FROM coupon_issues WHERE coupon_id = ?", x.coupon)
}

func (x *trial) generation() int64 {
	x.t.Helper()
	return x.number("SELECT gate_generation FROM coupons WHERE id = ?", x.coupon)
}

// load starts the load that sells the coupon out, at a pace that leaves a trial time for its faults.
func (x *trial) load(stock int64, change ...func(*load.Options)) {
	x.t.Helper()
	x.offer(stock)
	options := campaign.Usual(16, x.seed+uint64(x.coupon))
	options.Addrs, options.Coupon, options.PerSecond, options.SoldOutMax = []string{x.s.HTTP}, x.coupon, 2000, 200
	for _, each := range change {
		each(&options)
	}
	paced, sellOut := context.WithCancel(x.ctx)
	options.PacedUntil, x.sellOut = paced.Done(), sellOut
	x.t.Cleanup(sellOut)
	x.c = campaign.Start(x.t, x.state, options)
	x.progress(500)
}

func (x *trial) state(ctx context.Context) (*ledger.State, error) {
	return x.reader.Read(ctx, x.coupon)
}

// progress waits until so many more requests were promised, and fails when the load is over by then.
func (x *trial) progress(promises int64) {
	x.t.Helper()
	x.await(ledger.Queued, promises)
}

// await waits until so many more requests were answered so.
func (x *trial) await(answer ledger.Answer, count int64) {
	x.t.Helper()
	x.c.AwaitAnswers(answer, x.c.Count(answer)+count, 30*time.Second)
	if x.c.Ended() {
		x.t.Fatalf("the load ended too early: %+v", x.c.Result)
	}
}

// during lets a fault last so long.
func (x *trial) during(fault time.Duration) {
	x.t.Helper()
	if stack.Until(fault, x.c.Ended) {
		x.t.Fatalf("the load ended during the fault: %+v", x.c.Result)
	}
}

// recovered waits for the first promise after the moment, and requires it within the bound.
func (x *trial) recovered(moment time.Time, bound time.Duration) {
	x.t.Helper()
	took := x.c.AwaitRecovery(moment, max(3*bound, 20*time.Second))
	x.recoveries = append(x.recoveries, took)
	x.row.Count++
	if took > bound {
		x.t.Errorf("promised again after %v, want at most %v", took.Round(time.Millisecond), bound)
	}
}

// settle has the coupon sold out, waits until all has arrived, and requires a ledger that balances.
func (x *trial) settle() *ledger.Report {
	x.t.Helper()
	x.sellOut()
	x.c.Finish(90 * time.Second)
	report := x.c.RequireClean()
	x.note(report)
	x.settled = true
	if sold := x.rowCount(); sold != x.total {
		x.t.Errorf("%d rows at the end, want %d", sold, x.total)
	}
	return report
}

func (x *trial) note(report *ledger.Report) {
	x.row.Queued = report.Answers[ledger.Queued.String()]
	x.row.Lost, x.row.Duplicated, x.row.OverIssued = report.Lost, report.Duplicated, report.OverIssued
	x.t.Logf("recoveries %v", x.recoveries)
}

// entries collects what the journal says of these answers; after settle.
func (x *trial) entries(wanted func(*ledger.Entry) bool) []ledger.Entry {
	x.t.Helper()
	var found []ledger.Entry
	x.c.Visit(func(entry *ledger.Entry) {
		if wanted(entry) {
			found = append(found, *entry)
		}
	})
	return found
}

// requireTimelyPromises requires that nobody was promised anything later than the ack deadline allows.
func (x *trial) requireTimelyPromises() {
	x.t.Helper()
	late := x.entries(func(e *ledger.Entry) bool {
		return e.Answer == ledger.Queued && time.Duration(e.DoneNs-e.InvokeNs) > ackDeadline+ackMargin
	})
	if len(late) > 0 {
		x.t.Errorf("%d answers QUEUED came later than %v after the request, the first after %v", len(late),
			ackDeadline+ackMargin, time.Duration(late[0].DoneNs-late[0].InvokeNs))
	}
}

// table is the report for people.
func (r *rig) table() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tcount\trecovery p50\tmax\tQUEUED\tlost\tduplicated\tover-issued\ttook\t")
	for _, row := range r.rows {
		verdict := ""
		if !row.OK {
			verdict = "FAIL"
		}
		fmt.Fprintf(w, "%s\t%d\t%d ms\t%d ms\t%d\t%d\t%d\t%d\t%d s\t%s\n", row.Fault, row.Count, row.RecoveryP50MS,
			row.RecoveryMaxMS, row.Queued, row.Lost, row.Duplicated, row.OverIssued, row.Seconds, verdict)
	}
	_ = w.Flush() // into memory
	return text.String()
}

// writeTable writes the report for programs to build/test-logs/chaos.json.
func (r *rig) writeTable() error {
	root, err := stack.Root()
	if err != nil {
		return err
	}
	folder := filepath.Join(root, "build", "test-logs")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(struct {
		Seed   uint64     `json:"seed"`
		Faults []tableRow `json:"faults"`
	}{r.seed, r.rows}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "chaos.json"), append(text, '\n'), 0o644)
}
