package products

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"ecom/tests/stack"
	"ecom/tests/wire"
)

// The promises.
const (
	changeShowsWithin = time.Second     // of what ecomctl has changed, on every server
	softTTL           = 5 * time.Second // so long may a change made by hand stay unseen
	negativeTTL       = time.Second
)

// Bounds of waits, far above what is seen.
const (
	answerWithin = 15 * time.Second // past every deadline of the service
	stepWithin   = 30 * time.Second
)

const oldPrice = 1000 // of every product that a trial makes

// rig is what the trials share.
type rig struct {
	t      *testing.T
	s      *stack.Stack
	db     *sql.DB
	root   *sql.DB // for what only the database's owner may do
	gate   *redis.Client
	cache  *redis.Client
	nextID int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, s: stack.NewReal(t, stack.DataDir(t)), nextID: 1001}
	r.s.Up()
	address, err := url.Parse(r.s.MySQLURL)
	if err != nil {
		t.Fatal(err)
	}
	if err := mysql.SetLogger(&mysql.NopLogger{}); err != nil { // connections end when a trial ends them
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	r.db = r.open("%s:%s@tcp(%s)%s", address.User.Username(), password, address.Host, address.Path)
	r.root = r.open("root@unix(%s)%s", r.s.StoreFile("mysql", "mysql.sock"), address.Path)
	gate, err := redis.ParseURL(r.s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	r.gate = redis.NewClient(gate)
	r.cache = redis.NewClient(&redis.Options{Network: "unix", Addr: filepath.Join(r.s.DataDir, "cache.sock")})
	t.Cleanup(func() {
		for _, closer := range []io.Closer{r.gate, r.cache, r.db, r.root} {
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func (r *rig) open(format string, parts ...any) *sql.DB {
	r.t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf(format, parts...))
	if err != nil {
		r.t.Fatal(err)
	}
	return db
}

// trial is one test, with servers and products of its own.
type trial struct {
	*rig
	t   *testing.T
	s   *stack.Stack
	ctx context.Context // not done before the cleanup is
}

func (r *rig) begin(t *testing.T) *trial {
	t.Helper()
	x := &trial{rig: r, t: t, s: r.s.In(t), ctx: context.WithoutCancel(t.Context())}
	t.Cleanup(func() {
		if pid := x.s.Find("cache"); pid != 0 {
			x.s.Thaw("cache") // a trial that failed half-way may have left it frozen
		}
	})
	return x
}

// node is a server with a gateway in front of it.
type node struct {
	t       *testing.T
	server  *stack.Server
	gateway *stack.Gateway
	addr    string // of its REST side
}

// start starts servers that nothing was asked of yet. The first has all roles; the others answer calls.
func (x *trial) start(count int, settings ...string) []*node {
	x.t.Helper()
	var nodes []*node
	roles := "api,recorder,reconciler"
	for n := range count {
		server := x.s.StartServer(fmt.Sprintf("server%d", n), roles, settings...)
		gateway := x.s.StartGateway(server)
		nodes = append(nodes, &node{t: x.t, server: server, gateway: gateway, addr: gateway.HTTP})
		roles = "api"
	}
	for _, each := range nodes {
		each.awaitReady()
	}
	return nodes
}

// awaitWarm waits until servers that nobody has asked yet have read what they read on their own: from then
// on they read what is asked for.
func (x *trial) awaitWarm(nodes []*node) {
	x.t.Helper()
	for _, each := range nodes {
		x.until("the server is warm", func() bool {
			return strings.Contains(each.server.Output(), "the product caches are being warmed") && each.missReads() == 0
		})
	}
}

func (n *node) awaitReady() {
	n.t.Helper()
	ready := stack.Until(stack.ReadyWithin, func() bool {
		if n.server.Ended() || n.gateway.Ended() {
			n.t.Fatal("ended before it was ready")
		}
		for _, admin := range []string{n.server.Admin, n.gateway.Admin} {
			if status, _, err := fetch(admin, "/health/ready"); err != nil || status != http.StatusOK {
				return false
			}
		}
		return true
	})
	if !ready {
		n.t.Fatalf("not ready within %v", stack.ReadyWithin)
	}
}

// stop stops gateway and server as an operator does, and requires exit code 0.
func (n *node) stop() {
	n.t.Helper()
	n.gateway.Stop()
	n.server.Stop()
}

func fetch(addr, path string) (int, string, error) {
	client := http.Client{Timeout: answerWithin, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + addr + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return response.StatusCode, string(body), err
}

// metric reads one series of the server, such as `product_cache_requests_total{level="l2",result="hit"}`.
func (n *node) metric(series string) float64 {
	n.t.Helper()
	return scrape(n.t, n.server.Admin, series)
}

func scrape(t *testing.T, addr, series string) float64 {
	t.Helper()
	status, text, err := fetch(addr, "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("/metrics: %d %v", status, err)
	}
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(strings.TrimSpace(line), series+" ")
		if !found {
			continue
		}
		value, err := strconv.ParseFloat(rest, 64)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	t.Fatalf("/metrics has no %s", series)
	return 0
}

// missReads tells how many ids this server has read from the store because somebody waited. Refreshes,
// which it begins on its own, are left out; those that are still waiting count as read.
func (n *node) missReads() float64 {
	n.t.Helper()
	return n.metric("product_loaded_ids_total") - n.metric("product_refreshes_total")
}

// settledMissReads waits until no read is waiting, and there were at least so many.
func (n *node) settledMissReads(least float64) float64 {
	n.t.Helper()
	var reads float64
	stack.Until(answerWithin, func() bool { reads = n.missReads(); return reads >= least })
	return reads
}

// fills tells how often this server has put something into the second level, or left it out as too old.
func (n *node) fills() float64 {
	n.t.Helper()
	return n.metric(`product_cache_fills_total{result="ok"}`) + n.metric(`product_cache_fills_total{result="too_old"}`)
}

// makeProducts makes products that no start warms: those of the sample data come first.
func (x *trial) makeProducts(count int) []int64 {
	x.t.Helper()
	var ids []int64
	var rows []string
	for range count {
		ids = append(ids, x.nextID)
		rows = append(rows, fmt.Sprintf("(%d, 1, '%s', %d, 1, TRUE, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))",
			x.nextID, nameOf(x.nextID), oldPrice))
		x.rig.nextID++
	}
	x.exec("INSERT INTO products (id, category_id, name, price, stock_quantity, is_active, created_at, updated_at) VALUES " +
		strings.Join(rows, ", "))
	return ids
}

func nameOf(id int64) string { return fmt.Sprintf("trial-product-%d", id) }

func (x *trial) exec(query string, arguments ...any) {
	x.t.Helper()
	if _, err := x.db.ExecContext(x.ctx, query, arguments...); err != nil {
		x.t.Fatalf("%s: %v", query, err)
	}
}

// storedViews sums what the store has counted of products with consecutive ids.
func (x *trial) storedViews(ids []int64) int64 {
	x.t.Helper()
	var views int64
	err := x.db.QueryRowContext(x.ctx, "SELECT SUM(view_count) FROM products WHERE id BETWEEN ? AND ?",
		slices.Min(ids), slices.Max(ids)).Scan(&views)
	if err != nil {
		x.t.Fatal(err)
	}
	return views
}

// emptyCache leaves nothing in the second level.
func (x *trial) emptyCache() {
	x.t.Helper()
	if err := x.cache.FlushAll(x.ctx).Err(); err != nil {
		x.t.Fatal(err)
	}
}

// setPrice changes a price as an operator does, and returns when it is changed.
func (x *trial) setPrice(id, price int64) { setPrice(x.t, x.s, id, price) }

func setPrice(t *testing.T, s *stack.Stack, id, price int64) {
	t.Helper()
	program := s.Run("", stack.Binary(t, "ecomctl"), "product", "set", fmt.Sprintf("--id=%d", id),
		fmt.Sprintf("--price=%d", price))
	if code := program.AwaitEnd(stepWithin); code != 0 {
		t.Fatalf("ecomctl product set ended with exit code %d: %s", code, program.Output())
	}
}

// reader is one caller of one server, on a connection of its own.
type reader struct{ client *wire.Client }

func newReader(addr string) *reader { return &reader{wire.NewClient(addr, answerWithin)} }

func (r *reader) close() { r.client.Close() }

// answer is what a reader was told.
type answer struct {
	status     int
	code       string // of an error
	price      int64
	viewCount  int64
	retryAfter string
	err        error
}

func (r *reader) read(id int64) answer {
	response, err := r.client.Do(http.MethodGet, wire.Request(http.MethodGet, fmt.Sprintf("/products/%d", id), nil, ""))
	if err != nil {
		return answer{err: err}
	}
	var body struct {
		Code      string  `json:"code"`
		Price     float64 `json:"price"`
		ViewCount int64   `json:"viewCount"`
	}
	if err := json.Unmarshal(response.Body, &body); err != nil {
		return answer{status: response.Status, err: fmt.Errorf("%s: %w", response.Body, err)}
	}
	return answer{status: response.Status, code: body.Code, price: int64(body.Price), viewCount: body.ViewCount,
		retryAfter: response.Header.Get("Retry-After")}
}

func (a answer) isProduct() bool { return a.err == nil && a.status == http.StatusOK }

// priceAt reads a price once, and requires an answer.
func priceAt(t *testing.T, addr string, id int64) int64 {
	t.Helper()
	r := newReader(addr)
	defer r.close()
	got := r.read(id)
	if !got.isProduct() {
		t.Fatalf("product %d: %+v", id, got)
	}
	return got.price
}

// awaitPrice reads until the price shows, and requires that within the bound from `since` on. Returns how
// long it took.
func awaitPrice(t *testing.T, addr string, id, price int64, since time.Time, bound time.Duration) time.Duration {
	t.Helper()
	r := newReader(addr)
	defer r.close()
	var shown time.Time
	stack.Until(bound+stepWithin, func() bool {
		asked := time.Now()
		got := r.read(id)
		if !got.isProduct() {
			t.Fatalf("product %d: %+v", id, got)
		}
		shown = asked
		return got.price == price
	})
	took := max(0, shown.Sub(since))
	if took > bound {
		t.Errorf("product %d showed its price %v after it was changed, want at most %v", id, took, bound)
	}
	return took
}

// atOnce has so many readers ready, connected, and lets them ask at one moment.
func atOnce(t *testing.T, addrs []string, count int, id int64) []answer {
	t.Helper()
	answers := make([]answer, count)
	start := make(chan struct{})
	var ready, all sync.WaitGroup
	for n := range count {
		ready.Add(1)
		all.Go(func() {
			r := newReader(addrs[n%len(addrs)])
			defer r.close()
			connected := r.read(0) // no id: the gateway says so itself
			ready.Done()
			<-start
			if answers[n] = connected; connected.status == http.StatusBadRequest {
				answers[n] = r.read(id)
			}
		})
	}
	ready.Wait()
	close(start)
	all.Wait()
	return answers
}

func requireProducts(t *testing.T, answers []answer) {
	t.Helper()
	failed := 0
	for _, each := range answers {
		if each.isProduct() {
			continue
		}
		if failed++; failed <= 3 {
			t.Errorf("%+v", each)
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d readers got no product", failed, len(answers))
	}
}

// crowd reads until it is stopped.
type crowd struct {
	stop func() []sample // ends it, and returns what it was told
}

// sample is one answer to one reader of a crowd.
type sample struct {
	answer
	addr  string
	asked time.Time
	took  time.Duration
}

// startCrowd lets so many readers read, each the next of its own choice, as fast as the answers come.
func startCrowd(t *testing.T, addrs []string, count int, choose func(reader, round int) int64) *crowd {
	t.Helper()
	var stopped atomic.Bool
	var all sync.WaitGroup
	samples := make([][]sample, count)
	for n := range count {
		all.Go(func() {
			addr := addrs[n%len(addrs)]
			r := newReader(addr)
			defer r.close()
			for round := 0; !stopped.Load(); round++ {
				asked := time.Now()
				got := r.read(choose(n, round))
				samples[n] = append(samples[n], sample{got, addr, asked, time.Since(asked)})
			}
		})
	}
	stop := sync.OnceValue(func() []sample {
		stopped.Store(true)
		all.Wait()
		return slices.Concat(samples...)
	})
	t.Cleanup(func() { stop() })
	return &crowd{stop}
}

// pass lets time go by in which others are at work.
func pass(t *testing.T, duration time.Duration) {
	t.Helper()
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// quantile of how long answers took.
func quantile(samples []sample, share float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	var took []time.Duration
	for _, each := range samples {
		took = append(took, each.took)
	}
	slices.Sort(took)
	return took[min(len(took)-1, int(share*float64(len(took))))]
}
