package products

import (
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	views       = 50_000
	viewCallers = 64

	// lossWindow is what the documented loss comes to: a flush begins each half second; the rest is for one
	// under way on a busy machine.
	lossWindow = time.Second
)

// tally is what callers know of the views that they have asked for.
type tally struct {
	samples []sample
	counted int64 // answered with a product
	unknown int64 // sent, and no answer: they may have been counted, or not
}

// countViews has 64 callers of both servers look at products until so many views were answered. Whoever
// gets no answer goes over to the first server, and asks again. `observe` is told of each view.
func (x *trial) countViews(nodes []*node, ids []int64, observe func(counted int64)) tally {
	x.t.Helper()
	var asked, counted, unknown atomic.Int64
	samples := make([][]sample, viewCallers)
	var all sync.WaitGroup
	for n := range viewCallers {
		all.Go(func() {
			addr := nodes[n%len(nodes)].addr
			r := newReader(addr)
			defer func() { r.close() }()
			for i := asked.Add(1); i <= views; {
				began := time.Now()
				got := r.read(ids[i%int64(len(ids))])
				samples[n] = append(samples[n], sample{got, addr, began, time.Since(began)})
				if got.isProduct() {
					observe(counted.Add(1))
					i = asked.Add(1)
					continue
				}
				unknown.Add(1)
				if got.err == nil && got.status != http.StatusServiceUnavailable && got.status != http.StatusGatewayTimeout {
					x.t.Errorf("%+v", got)
					return
				}
				r.close()
				addr = nodes[0].addr
				r = newReader(addr)
			}
		})
	}
	all.Wait()
	result := tally{counted: counted.Load(), unknown: unknown.Load()}
	for _, each := range samples {
		result.samples = append(result.samples, each...)
	}
	if result.counted != views {
		x.t.Fatalf("%d views were answered, want %d", result.counted, int64(views))
	}
	return result
}

// within counts views that were answered in a span of time; addr "" is of every server.
func (y tally) within(addr string, from, to time.Time) int64 {
	var count int64
	for _, each := range y.samples {
		answered := each.asked.Add(each.took)
		if each.isProduct() && (addr == "" || each.addr == addr) && answered.After(from) && answered.Before(to) {
			count++
		}
	}
	return count
}

func viewsSurviveCleanStop(x *trial) {
	nodes := x.start(2)
	ids := x.makeProducts(20)
	began := time.Now()
	all := x.countViews(nodes, ids, func(int64) {})
	took := time.Since(began)
	for _, each := range nodes {
		each.stop()
	}
	stored := x.storedViews(ids)
	if stored != views || all.unknown != 0 {
		x.t.Errorf("%d views are stored, want %d; %d had no answer", stored, int64(views), all.unknown)
	}
	x.t.Logf("%d views in %v (%.0f/s), p99 %v: %d stored", all.counted, took, views/took.Seconds(),
		quantile(all.samples, 0.99), stored)
}

func viewsSurviveKill(x *trial) {
	nodes := x.start(2)
	ids := x.makeProducts(20)
	var killed time.Time
	var flushed float64
	kill := sync.OnceFunc(func() {
		flushed = nodes[1].metric("product_views_flushed_total")
		killed = time.Now()
		nodes[1].server.Signal(syscall.SIGKILL)
	})
	all := x.countViews(nodes, ids, func(counted int64) {
		if counted == views*3/5 {
			kill()
		}
	})
	nodes[0].stop()
	stored := x.storedViews(ids)
	counted := all.within(nodes[1].addr, time.Time{}, time.Now())
	lossMax := counted - int64(flushed)
	lost := all.counted - stored
	if lost > lossMax || -lost > all.unknown {
		x.t.Errorf("%d views stored of %d to %d: want at most %d less, and none more", stored, all.counted,
			all.counted+all.unknown, lossMax)
	}
	if inWindow := all.within(nodes[1].addr, killed.Add(-2*lossWindow), time.Now()); lost > inWindow {
		x.t.Errorf("%d views are lost, though only %d came within %v of the end", lost, inWindow, 2*lossWindow)
	}
	if counted == 0 || killed.IsZero() {
		x.t.Error("nothing was killed: this proves nothing")
	}
	x.t.Logf("%d views answered, %d of them by the server that was killed; %d had no answer; %d stored, %d lost of %d at most",
		all.counted, counted, all.unknown, stored, lost, lossMax)
}

func viewsSurviveFlush(x *trial) {
	nodes := x.start(2)
	ids := x.makeProducts(20)
	var began, ended time.Time
	flush := sync.OnceFunc(func() {
		began = time.Now()
		if err := x.gate.FlushAll(x.ctx).Err(); err != nil {
			x.t.Error(err)
		}
		ended = time.Now()
	})
	all := x.countViews(nodes, ids, func(counted int64) {
		if counted == views/2 {
			flush()
		}
	})
	for _, each := range nodes {
		each.stop()
	}
	stored := x.storedViews(ids)
	lossMax := all.within("", began.Add(-lossWindow), ended.Add(lossWindow))
	if stored > all.counted+all.unknown || all.counted-stored > lossMax {
		x.t.Errorf("%d views stored of %d to %d: want at most %d less, and none more", stored, all.counted,
			all.counted+all.unknown, lossMax)
	}
	if ended.IsZero() {
		x.t.Error("nothing was flushed: this proves nothing")
	}
	x.t.Logf("%d views answered, %d had no answer; %d stored, %d lost of %d at most", all.counted, all.unknown, stored,
		all.counted-stored, lossMax)
}
