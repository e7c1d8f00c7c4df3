package products

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/wire"
)

func hotProductIsCold(x *trial) {
	nodes := x.start(2)
	x.awaitWarm(nodes)
	for _, each := range nodes {
		id := x.makeProducts(1)[0]
		x.emptyCache()
		before := each.missReads()
		requireProducts(x.t, atOnce(x.t, []string{each.addr}, 64, id))
		if reads := each.settledMissReads(before+1) - before; reads != 1 {
			x.t.Errorf("64 readers of a server cost %v reads of the store", reads)
		}
		x.t.Logf("64 readers, 1 read, %v joined it", each.metric("product_load_joins_total"))
	}
	// Both at once: the second server may find what the first one has put into the second level.
	id := x.makeProducts(1)[0]
	x.emptyCache()
	before := []float64{nodes[0].missReads(), nodes[1].missReads()}
	requireProducts(x.t, atOnce(x.t, []string{nodes[0].addr, nodes[1].addr}, 64, id))
	var sum float64
	x.until("the store was read", func() bool {
		sum = 0
		for n, each := range nodes {
			sum += each.missReads() - before[n]
		}
		return sum >= 1
	})
	for n, each := range nodes {
		if reads := each.missReads() - before[n]; reads > 1 {
			x.t.Errorf("server %d has read %v times", n, reads)
		}
	}
	x.t.Logf("64 readers on both servers at once: %v reads", sum)
}

func hotProductExpires(x *trial) {
	const ttl, lasts = time.Second, 4 * time.Second
	nodes := x.start(2, "ECOM_PRODUCT_SOFT_TTL="+ttl.String(), "ECOM_PRODUCT_READ_AHEAD=0")
	x.awaitWarm(nodes)
	id := x.makeProducts(1)[0]
	var before []float64
	for _, each := range nodes {
		before = append(before, each.metric("product_loaded_ids_total"))
	}
	began := time.Now()
	all := startCrowd(x.t, []string{nodes[0].addr, nodes[1].addr}, 64, func(int, int) int64 { return id })
	pass(x.t, lasts)
	samples := all.stop()
	took := time.Since(began)
	requireSamples(x, samples)
	// It is read again after three fifths of the TTL, and never twice at once. Nothing else is: no
	// other product is hot, and none is read ahead.
	most := 2 + took.Seconds()/(0.6*ttl.Seconds())
	for n, each := range nodes {
		reads := each.metric("product_loaded_ids_total") - before[n]
		if reads < 1 || reads > most {
			x.t.Errorf("server %d has read the store %v times in %v, want at most %.0f", n, reads, took, most)
		}
		x.t.Logf("server %d: %v reads of the store in %v", n, reads, took)
	}
	x.t.Logf("%d answers, p99 %v", len(samples), quantile(samples, 0.99))
}

func requireSamples(x *trial, samples []sample) {
	x.t.Helper()
	var answers []answer
	for _, each := range samples {
		answers = append(answers, each.answer)
	}
	if len(answers) == 0 {
		x.t.Error("nobody was answered: this proves nothing")
	}
	requireProducts(x.t, answers)
}

// So little room that most reads need the second level, or the store.
func cacheDies(x *trial) {
	nodes := x.start(2, "ECOM_PRODUCT_L1_ENTRIES_MAX=64")
	ids := x.makeProducts(400)
	crowd := startCrowd(x.t, []string{nodes[0].addr, nodes[1].addr}, 16, func(n, _ int) int64 {
		return ids[rand.IntN(len(ids))]
	})
	phases := []struct {
		name  string
		begin func()
		lasts time.Duration
	}{
		{"before", func() {}, 2 * time.Second},
		{"killed", func() { x.s.Kill("cache") }, 2 * time.Second},
		{"started again", func() { x.s.Up("cache") }, 2 * time.Second},
		{"frozen", func() { x.s.Freeze("cache") }, 2 * time.Second},
		{"after", func() { x.s.Thaw("cache") }, 2 * time.Second},
	}
	var began []time.Time
	for _, phase := range phases {
		began = append(began, time.Now())
		phase.begin()
		pass(x.t, phase.lasts)
	}
	x.until("the second level is asked again", func() bool {
		return nodes[0].metric(`product_cache_breaker_state{level="l2"}`) == 0 &&
			nodes[1].metric(`product_cache_breaker_state{level="l2"}`) == 0
	})
	samples := crowd.stop()
	requireSamples(x, samples)
	for n, phase := range phases {
		var of []sample
		for _, each := range samples {
			if !each.asked.Before(began[n]) && (n+1 == len(began) || each.asked.Before(began[n+1])) {
				of = append(of, each)
			}
		}
		x.t.Logf("%-14s %6d reads, p50 %v, p99 %v, max %v", phase.name, len(of), quantile(of, 0.5), quantile(of, 0.99),
			quantile(of, 1))
	}
	for n, each := range nodes {
		hits, skipped := each.metric(`product_cache_requests_total{level="l2",result="hit"}`),
			each.metric(`product_cache_requests_total{level="l2",result="skipped"}`)
		if hits == 0 || skipped == 0 {
			x.t.Errorf("server %d: %v hits in the second level, %v times it was skipped: this proves nothing", n, hits, skipped)
		}
	}
}

func firstReadersShareOneSelect(x *trial) {
	nodes := x.start(2)
	x.awaitWarm(nodes)
	id := x.makeProducts(1)[0]
	// The totals of views know the product, as they do of one that was sold before: they read it, too,
	// from the store when they first hear of it.
	priceAt(x.t, nodes[1].addr, id)
	x.until("its view is counted", func() bool {
		known, err := x.gate.HExists(x.ctx, "product:views:totals", fmt.Sprint(id)).Result()
		return err == nil && known
	})
	x.emptyCache()
	log := x.logStatements()
	before := nodes[0].missReads()
	requireProducts(x.t, atOnce(x.t, []string{nodes[0].addr}, 1000, id))
	reads := nodes[0].settledMissReads(before+1) - before
	selects := log(fmt.Sprintf("FROM products WHERE id IN .*[^0-9]%d[^0-9]", id))
	// The log in a table, of which MariaDB promises little, was seen to miss the one that there is.
	if reads != 1 || selects > 1 {
		x.t.Errorf("1000 first readers cost %v reads by the metric, %d SELECTs by MariaDB's log", reads, selects)
	}
	x.t.Logf("1000 readers, %d SELECT, %v joined it", selects, nodes[0].metric("product_load_joins_total"))
}

// logStatements has MariaDB log what it is asked; the function that it returns ends that, and counts those
// that match a pattern.
func (x *trial) logStatements() func(pattern string) int {
	x.t.Helper()
	execute := func(statement string) {
		x.t.Helper()
		if _, err := x.root.ExecContext(x.ctx, statement); err != nil {
			x.t.Fatalf("%s: %v", statement, err)
		}
	}
	execute("TRUNCATE mysql.general_log")
	execute("SET GLOBAL log_output = 'TABLE'")
	execute("SET GLOBAL general_log = ON")
	off := sync.OnceFunc(func() { execute("SET GLOBAL general_log = OFF") })
	x.t.Cleanup(off)
	return func(pattern string) int {
		off()
		var count int
		err := x.root.QueryRowContext(x.ctx,
			"SELECT COUNT(*) FROM mysql.general_log WHERE command_type = 'Execute' AND argument REGEXP ?", pattern).Scan(&count)
		if err != nil {
			x.t.Fatal(err)
		}
		return count
	}
}

func unknownIDIsRemembered(x *trial) {
	nodes := x.start(1)
	x.awaitWarm(nodes)
	one := nodes[0]
	const unknown, lasts = 4_000_000_000, 4 * time.Second
	before := one.missReads()
	began := time.Now()
	crowd := startCrowd(x.t, []string{one.addr}, 32, func(int, int) int64 { return unknown })
	pass(x.t, lasts)
	samples := crowd.stop()
	took := time.Since(began)
	for _, each := range samples {
		if each.err != nil || each.status != http.StatusNotFound || each.code != "PD101" {
			x.t.Fatalf("%+v", each.answer)
		}
	}
	// One at the beginning, and one whenever the last one has been forgotten.
	most := 1 + float64(took/negativeTTL)
	reads := one.missReads() - before
	if reads < 1 || reads > most {
		x.t.Errorf("%v reads of the store in %v, want at most %v", reads, took, most)
	}
	if perSecond := float64(len(samples)) / took.Seconds(); perSecond < 1000 {
		x.t.Errorf("asked only %.0f times a second: this proves little", perSecond)
	}
	x.t.Logf("asked %d times in %v: %v reads of the store", len(samples), took, reads)
}

// With a short queue, as a flood from many machines would fill the usual one.
func unknownIDsAreShed(x *trial) {
	one := x.start(1, "ECOM_PRODUCT_LOADS_QUEUED_MAX=8")[0]
	x.awaitWarm([]*node{one})
	const lasts = 4 * time.Second
	known := x.makeProducts(10)
	first := newReader(one.addr)
	defer first.close()
	for _, id := range known {
		// The warming may have filled the queue for a moment.
		x.until("a product is read", func() bool { return first.read(id).isProduct() })
	}
	readSeconds := one.metric("product_load_seconds_sum")
	began := time.Now()
	buyers := startBuyers(x, one.addr)
	readers := startCrowd(x.t, []string{one.addr}, 4, func(_, round int) int64 { return known[round%len(known)] })
	flood := startCrowd(x.t, []string{one.addr}, 64, func(int, int) int64 { return 1_000_000_000_000 + rand.Int64N(1<<50) })
	probes := 0
	for end := began.Add(lasts); time.Now().Before(end); probes++ {
		var threads int
		if err := x.db.QueryRowContext(x.ctx, "SELECT COUNT(*) FROM information_schema.processlist").Scan(&threads); err != nil {
			x.t.Fatalf("MariaDB: %v", err)
		}
		if threads > 40 {
			x.t.Errorf("%d connections to MariaDB", threads)
		}
		pass(x.t, 50*time.Millisecond)
	}
	flooded, served, bought := flood.stop(), readers.stop(), buyers()
	took := time.Since(began)
	statuses := map[int]int{}
	for _, each := range flooded {
		statuses[each.status]++
		isUnknown := each.status == http.StatusNotFound && each.code == "PD101"
		isShed := each.status == http.StatusServiceUnavailable && each.code == "CM503" && each.retryAfter != ""
		if each.err != nil || (!isUnknown && !isShed) {
			x.t.Fatalf("an unknown id: %+v", each.answer)
		}
	}
	if statuses[http.StatusNotFound] == 0 || statuses[http.StatusServiceUnavailable] == 0 {
		x.t.Errorf("answers %v: this proves nothing", statuses)
	}
	requireSamples(x, served)
	if bought == 0 {
		x.t.Error("no coupon was issued meanwhile")
	}
	// One read is under way at a time: that is what caps the load on the store.
	reading := one.metric("product_load_seconds_sum") - readSeconds
	if reading > took.Seconds()+1 {
		x.t.Errorf("reads of the store took %v s of %v: more than one at a time", reading, took)
	}
	x.t.Logf("%d unknown ids asked in %v: %v; %d reads of known products, p99 %v; %d coupons; %d looks at MariaDB; reading %.2f s",
		len(flooded), took, statuses, len(served), quantile(served, 0.99), bought, probes, reading)
}

// startBuyers asks for coupons, each for another user; every one must be promised. What it returns ends it,
// and tells how many there were.
func startBuyers(x *trial, addr string) (stop func() int) {
	x.t.Helper()
	const coupon, users = 77, 1_000_000
	x.exec("INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at, ends_at)"+
		" VALUES (?, 'flood', ?, ?, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, UTC_TIMESTAMP(6) + INTERVAL 1 DAY)", coupon, users, users)
	client := wire.NewClient(addr, answerWithin)
	x.until("its gate is open", func() bool {
		entry, _ := load.Ask(client, coupon, 1, "first")
		return entry.Answer == ledger.Queued
	})
	var promised atomic.Int64
	ctx, cancel := context.WithCancel(x.ctx)
	var all sync.WaitGroup
	all.Go(func() {
		defer client.Close()
		for user := int64(2); ctx.Err() == nil; user++ {
			if entry, _ := load.Ask(client, coupon, user, fmt.Sprint(user)); entry.Answer != ledger.Queued {
				x.t.Errorf("coupon for user %d: %v", user, entry.Answer)
				return
			}
			promised.Add(1)
		}
	})
	x.t.Cleanup(func() { cancel(); all.Wait() })
	return func() int {
		cancel()
		all.Wait()
		return int(promised.Load())
	}
}
