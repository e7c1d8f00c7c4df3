package products

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"ecom/tests/stack"
)

// changes is how often a price is changed, where once might be luck.
const changes = 5

func pricesArrive(x *trial) {
	nodes := x.start(2)
	id := x.makeProducts(1)[0]
	for _, each := range nodes {
		priceAt(x.t, each.addr, id) // so that each keeps the old one
	}
	var byCommand, byHand []time.Duration
	for n := range int64(changes) {
		x.setPrice(id, 2000+n)
		changed := time.Now()
		for _, each := range nodes {
			byCommand = append(byCommand, awaitPrice(x.t, each.addr, id, 2000+n, changed, changeShowsWithin))
		}
	}
	x.exec("UPDATE products SET price = 3000 WHERE id = ?", id)
	changed := time.Now()
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, each := range nodes {
		all.Go(func() {
			took := awaitPrice(x.t, each.addr, id, 3000, changed, softTTL)
			mu.Lock()
			defer mu.Unlock()
			byHand = append(byHand, took)
		})
	}
	all.Wait()
	x.t.Logf("shown after, by ecomctl: %v; by hand: %v", byCommand, byHand)
}

func TestOnTheEmbeddedBackendAPriceSetByEcomctlShowsWithinASecondAndOneSetByHandWithinTheSoftTTL(t *testing.T) {
	s := stack.New(t, stack.DataDir(t))
	program := s.Start()
	const id = 7
	priceAt(t, s.HTTP, id)
	var byCommand []time.Duration
	for n := range int64(changes) {
		setPrice(t, s.With("BACKEND=embedded"), id, 2000+n)
		byCommand = append(byCommand, awaitPrice(t, s.HTTP, id, 2000+n, time.Now(), changeShowsWithin))
	}
	update := exec.CommandContext(t.Context(), "sqlite3", "-cmd", ".timeout 5000", filepath.Join(s.DataDir, "ecom.db"),
		fmt.Sprintf("UPDATE products SET price_minor = 300000 WHERE id = %d", id))
	if output, err := update.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	byHand := awaitPrice(t, s.HTTP, id, 3000, time.Now(), softTTL)
	t.Logf("shown after, by ecomctl: %v; by hand: %v", byCommand, byHand)
	program.Stop()
}

// heldServer starts two servers, the second behind a proxy that can hold back what MariaDB answers it.
func (x *trial) heldServer() (free, held *node, between *proxy) {
	x.t.Helper()
	address, err := url.Parse(x.s.MySQLURL)
	if err != nil {
		x.t.Fatal(err)
	}
	between = startProxy(x.t, x.s.FreeAddr(), address.Host)
	free = x.start(1)[0]
	address.Host = between.addr
	server := x.s.StartServer("held", "api", "MYSQL_URL="+address.String())
	gateway := x.s.StartGateway(server)
	held = &node{t: x.t, server: server, gateway: gateway, addr: gateway.HTTP}
	held.awaitReady()
	return free, held, between
}

// cachedVersion is the version that the second level has of a product, or keeps older ones out with; -1
// when it knows nothing of it.
func (x *trial) cachedVersion(id int64) int64 {
	x.t.Helper()
	value, err := x.cache.Get(x.ctx, fmt.Sprintf("product:detail:%d", id)).Result()
	if errors.Is(err, redis.Nil) {
		return -1
	}
	if err != nil {
		x.t.Fatal(err)
	}
	head, _, _ := strings.Cut(value, ":")
	version, err := strconv.ParseInt(head, 10, 64)
	if err != nil {
		x.t.Fatalf("product:detail:%d is %q", id, value)
	}
	return version
}

func (x *trial) storedVersion(id int64) int64 {
	x.t.Helper()
	var version int64
	if err := x.db.QueryRowContext(x.ctx, "SELECT version FROM products WHERE id = ?", id).Scan(&version); err != nil {
		x.t.Fatal(err)
	}
	return version
}

// readersOf lets so many readers ask for a product in the background; `wait` returns what they were told.
func readersOf(addr string, count int, id int64) (wait func() []answer) {
	answers := make([]answer, count)
	var all sync.WaitGroup
	for n := range count {
		all.Go(func() {
			r := newReader(addr)
			defer r.close()
			answers[n] = r.read(id)
		})
	}
	return func() []answer {
		all.Wait()
		return answers
	}
}

// The read has its answer on the way when the price changes; the answer arrives after the change is known
// everywhere, and while it would still be put into the second level.
func oldFillIsLate(x *trial) {
	free, held, between := x.heldServer()
	const newPrice = 2000
	for round := range 3 {
		id := x.makeProducts(1)[0]
		between.hold(nameOf(id))
		told := held.metric(`product_cache_invalidations_total{kind="product"}`)
		wait := readersOf(held.addr, 8, id)
		x.until("a read is held", between.isHolding)
		x.setPrice(id, newPrice)
		changed := time.Now()
		awaitPrice(x.t, free.addr, id, newPrice, changed, changeShowsWithin)
		x.until("the held server knows of the change", func() bool {
			return held.metric(`product_cache_invalidations_total{kind="product"}`) > told
		})
		between.release()
		answers := wait()
		for _, each := range answers {
			if !each.isProduct() || (each.price != newPrice && time.Since(changed) > softTTL) {
				x.t.Errorf("round %d: a reader that waited was told %+v, %v after the change", round, each, time.Since(changed))
			}
		}
		version := x.storedVersion(id)
		for n := range 200 {
			for _, each := range []*node{free, held} {
				if price := priceAt(x.t, each.addr, id); price != newPrice {
					x.t.Fatalf("round %d: the price is back at %d", round, price)
				}
			}
			if cached := x.cachedVersion(id); cached < version && (cached != -1 || n == 0) {
				x.t.Fatalf("round %d: the second level has version %d, the store %d", round, cached, version)
			}
		}
		x.t.Logf("round %d: the readers that waited were told %v", round, prices(answers))
	}
}

// As before; but the second level is emptied by a restart, and does not know of the change any more.
func oldFillOutlivesTheMark(x *trial) {
	free, held, between := x.heldServer()
	const newPrice = 2000
	id := x.makeProducts(1)[0]
	between.hold(nameOf(id))
	gaps := held.metric(`product_cache_invalidations_total{kind="all"}`)
	wait := readersOf(held.addr, 8, id)
	x.until("a read is held", between.isHolding)
	x.setPrice(id, newPrice)
	x.s.Kill("cache")
	x.s.Up("cache")
	x.until("the held server knows that it may have missed changes", func() bool {
		return held.metric(`product_cache_invalidations_total{kind="all"}`) > gaps
	})
	fills := held.fills()
	between.release()
	requireProducts(x.t, wait())
	// Another read ends behind it: by then what it had to say has been said.
	if price := priceAt(x.t, held.addr, id); price != newPrice {
		x.t.Errorf("the price is back at %d", price)
	}
	x.until("it has filled the second level", func() bool { return held.fills() > fills })
	fresh := x.start(1)[0]
	for _, each := range []*node{free, held, fresh} {
		if price := priceAt(x.t, each.addr, id); price != newPrice {
			x.t.Errorf("the price is back at %d", price)
		}
	}
	if version := x.storedVersion(id); x.cachedVersion(id) < version {
		x.t.Errorf("the second level has version %d, the store %d", x.cachedVersion(id), version)
	}
}

// A server is frozen with the old answer in hand, for longer than the TTL; who asks it meanwhile has been
// shown the new price by the other one.
func oldFillIsFrozen(x *trial) {
	free, held, between := x.heldServer()
	const newPrice, readers = 2000, 16
	id := x.makeProducts(1)[0]
	between.hold(nameOf(id))
	early := readersOf(held.addr, 4, id)
	x.until("a read is held", between.isHolding)
	x.setPrice(id, newPrice)
	changed := time.Now()
	pid := held.server.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		x.t.Fatal(err)
	}
	between.release()
	x.until("the TTL has passed", func() bool {
		return priceAt(x.t, free.addr, id) == newPrice && time.Since(changed) > softTTL+500*time.Millisecond
	})
	late := readersOf(held.addr, readers, id)
	x.until("the gateway has sent their calls", func() bool {
		return scrape(x.t, held.gateway.Admin, "http_requests_in_flight") >= readers
	})
	// The views of the product are looked up before the old answer is handed on: that takes a moment, and
	// lets those who came late join the read.
	if err := x.gate.Do(x.ctx, "CLIENT", "PAUSE", 500, "ALL").Err(); err != nil {
		x.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		x.t.Fatal(err)
	}
	told, answered := 0, 0
	for _, each := range late() {
		switch {
		case each.isProduct() && each.price == newPrice:
			told++
			answered++
		case each.status == http.StatusServiceUnavailable: // MariaDB may have hung up on a frozen server
			answered++
		case each.isProduct():
			x.t.Errorf("the old price %d is shown %v after it was changed", each.price, time.Since(changed))
		case each.status != http.StatusGatewayTimeout:
			x.t.Errorf("%+v", each)
		}
	}
	early()
	if answered == 0 {
		x.t.Error("nobody was answered: this proves nothing")
	}
	version := x.storedVersion(id)
	for range 200 {
		if price := priceAt(x.t, held.addr, id); price != newPrice {
			x.t.Fatalf("the price is back at %d", price)
		}
		if cached := x.cachedVersion(id); cached < version {
			x.t.Fatalf("the second level has version %d, the store %d", cached, version)
		}
	}
	x.t.Logf("frozen for %v; of %d who asked meanwhile %d were told the new price, %d were answered", time.Since(changed),
		readers, told, answered)
}

func prices(answers []answer) map[int64]int {
	counts := map[int64]int{}
	for _, each := range answers {
		counts[each.price]++
	}
	return counts
}

// until waits for a step of the trial.
func (x *trial) until(what string, condition func() bool) {
	x.t.Helper()
	if !stack.Until(stepWithin, condition) {
		x.t.Fatalf("not within %v: %s", stepWithin, what)
	}
}

// P7, as a monitor: each caller asks two servers in turn, and remembers what it was shown.
func pricesOnlyRise(x *trial) {
	nodes := x.start(2)
	id := x.makeProducts(1)[0]
	const callers, raised = 16, 6 * time.Second
	var price, changes atomic.Int64
	price.Store(oldPrice)
	var lastChange atomic.Int64 // when it was known, in Unix nanoseconds; 0: more may come
	var stopped atomic.Bool
	monitors := make([]monitor, callers)
	var all sync.WaitGroup
	for n := range monitors {
		all.Go(func() {
			readers := []*reader{newReader(nodes[0].addr), newReader(nodes[1].addr)}
			for round := n; !stopped.Load(); round++ {
				asked := time.Now()
				monitors[n].note(asked, readers[round%2].read(id), lastChange.Load(), price.Load())
			}
			for _, each := range readers {
				each.close()
			}
		})
	}
	x.t.Cleanup(func() { stopped.Store(true); all.Wait() })
	for end := time.Now().Add(raised); time.Now().Before(end); changes.Add(1) {
		x.setPrice(id, price.Load()+1)
		price.Add(1)
	}
	lastChange.Store(time.Now().UnixNano())
	pass(x.t, softTTL+2*time.Second)
	stopped.Store(true)
	all.Wait()
	var sum monitor
	for _, each := range monitors {
		sum.add(each)
	}
	if sum.broken != "" {
		x.t.Error(sum.broken)
	}
	if sum.final == 0 || changes.Load() < 10 {
		x.t.Errorf("%d changes, %d reads after them: this proves nothing", changes.Load(), sum.final)
	}
	x.t.Logf("%d changes, %d reads; %d went back, for %v at most; %d of them 6 s after the last change, none went back",
		changes.Load(), sum.reads, sum.back, sum.backFor, sum.final)
}

// monitor is what one caller was shown.
type monitor struct {
	reads, back, final int
	backFor            time.Duration // how long after a newer price an older one was shown, at most
	broken             string        // the first thing that was not as promised

	highest      int64
	newerThanLow []shownAt // prices in rising order, each when it was shown first
}

type shownAt struct {
	price int64
	at    time.Time
}

// note takes an answer to what was asked at that moment.
func (m *monitor) note(asked time.Time, got answer, lastChange, lastPrice int64) {
	m.reads++
	if !got.isProduct() {
		m.fail("%+v", got)
		return
	}
	if lastChange != 0 && asked.UnixNano()-lastChange > int64(softTTL+time.Second) {
		m.final++
		if got.price != lastPrice {
			m.fail("price %d is shown %v after the last change, to %d", got.price,
				time.Duration(asked.UnixNano()-lastChange), lastPrice)
		}
	}
	if got.price >= m.highest {
		if got.price > m.highest {
			m.highest = got.price
			m.newerThanLow = append(m.newerThanLow, shownAt{got.price, time.Now()})
		}
		return
	}
	m.back++
	for _, each := range m.newerThanLow {
		if each.price <= got.price {
			continue
		}
		since := asked.Sub(each.at) // the answer may have been under way for long
		m.backFor = max(m.backFor, since)
		if since > softTTL {
			m.fail("price %d is shown %v after a newer one to the same caller", got.price, since)
		}
		return
	}
}

func (m *monitor) fail(format string, arguments ...any) {
	if m.broken == "" {
		m.broken = fmt.Sprintf(format, arguments...)
	}
}

func (m *monitor) add(other monitor) {
	m.reads, m.back, m.final = m.reads+other.reads, m.back+other.back, m.final+other.final
	m.backFor = max(m.backFor, other.backFor)
	if m.broken == "" {
		m.broken = other.broken
	}
}
