// Package edge answers reads of products from copies that are a moment old, and has the server count
// the views.
package edge

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	edgev1 "ecom/gateway/gen/ecom/edge/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/lane"
)

// Options are the bounds of the copies.
type Options struct {
	// AgeMax is how old a copy may be when it is shown. Nobody tells a gateway that a product was
	// changed: so long a change may stay unseen here, and longer than on the server.
	AgeMax time.Duration
	// ProductsMax bounds the copies, of some 500 bytes each; others are read from the server.
	ProductsMax int
	// FlushInterval is between two reports of views: so many are lost when the gateway is killed.
	FlushInterval time.Duration
	// CallTimeout is of one report.
	CallTimeout time.Duration
	Observe     Observer
	Log         *slog.Logger
}

// Usual are the bounds beside the age. A view shows everywhere within 2 s, of which the server takes 1.
func Usual(ageMax, callTimeout time.Duration, observe Observer, log *slog.Logger) Options {
	return Options{
		AgeMax: ageMax, ProductsMax: 10_000, FlushInterval: 200 * time.Millisecond, CallTimeout: callTimeout,
		Observe: observe, Log: log,
	}
}

// An Observer is told what copies do. Its methods are called from many goroutines and must not block.
type Observer interface {
	EdgeAnswered()
	EdgeViewsCounted(views int64)
	EdgeViewsLost(views int64) // it is not known whether the server has counted them
}

const (
	// reportMax is how many products are reported in one call: well below the largest request.
	reportMax = 400
	// idleMax is how long a product is kept that nobody asks for: until every server shows at least
	// the views that were shown here.
	idleMax = 10 * time.Second
)

// A Server takes the calls that copies do not answer. Begun, of a call that failed, says whether the
// server has, or may have, begun it; UNAVAILABLE without details is a connection that broke.
type Server interface {
	Call(ctx context.Context, terms lane.Terms, method string, request, reply proto.Message) (begun bool, err error)
}

// Products holds the copies, in front of the server. Thread-safe.
type Products struct {
	options Options
	server  Server
	stop    chan struct{}
	done    sync.WaitGroup
	closing sync.Once
	lost    int64 // once closed
	began   time.Time
	// Set while the server takes what is to be counted: otherwise nothing is shown.
	counting atomic.Bool

	mu      sync.RWMutex
	entries map[int64]*entry
}

// An entry is a product that was asked for lately. Its fields are used under the read lock.
type entry struct {
	copy      atomic.Pointer[kept]
	refreshAt atomic.Int64 // on the clock; from then on one caller asks the server
	usedAt    atomic.Int64 // on the clock
	shown     atomic.Int64 // the highest count of views that anybody saw
	views     atomic.Int64 // shown from copies and not reported yet
}

type kept struct {
	product *productv1.Product // not to be changed
	askedAt time.Time
}

// New begins to report views to the server.
func New(server Server, options Options) *Products {
	p := &Products{options: options, server: server, stop: make(chan struct{}), began: time.Now(), entries: map[int64]*entry{}}
	p.done.Go(p.run)
	return p
}

// clock is monotonic, unlike the nanoseconds since 1970.
func (p *Products) clock(now time.Time) time.Duration { return now.Sub(p.began) }

// Call is the server's, except that it answers reads of one product from a copy where there is one.
func (p *Products) Call(ctx context.Context, terms lane.Terms, method string, request, reply proto.Message) (begun bool, err error) {
	if method != productv1.ProductService_GetProduct_FullMethodName {
		return p.server.Call(ctx, terms, method, request, reply)
	}
	id, got := request.(*productv1.GetProductRequest).GetProductId(), reply.(*productv1.GetProductResponse)
	askedAt := time.Now()
	if got.Product = p.take(id, askedAt); got.Product != nil {
		return false, nil
	}
	begun, err = p.server.Call(ctx, terms, method, request, reply)
	switch {
	case err == nil:
		got.Product = p.keep(id, got.Product, askedAt)
	case status.Code(err) == codes.NotFound:
		p.forget(id)
	}
	return begun, err
}

// take answers from a copy, which counts as a view; nil: ask the server. Of those who ask for a
// product that is here, one at a time is told so before the copy is too old.
func (p *Products) take(id int64, now time.Time) *productv1.Product {
	p.mu.RLock()
	defer p.mu.RUnlock()
	e := p.entries[id]
	if e == nil || !p.counting.Load() {
		return nil
	}
	clock := p.clock(now)
	e.usedAt.Store(int64(clock))
	k := e.copy.Load()
	if k == nil || now.Sub(k.askedAt) >= p.options.AgeMax {
		return nil
	}
	if at := e.refreshAt.Load(); int64(clock) >= at && e.refreshAt.CompareAndSwap(at, int64(clock+p.options.AgeMax/4)) {
		return nil
	}
	shown := e.shown.Add(1) // before it can be reported: or the server's count might have it already
	e.views.Add(1)
	p.options.Observe.EdgeAnswered()
	return k.with(shown)
}

// with is the product with another count of views.
func (k *kept) with(views int64) *productv1.Product {
	return &productv1.Product{
		Id: k.product.Id, Name: k.product.Name, PriceMinor: k.product.PriceMinor,
		StockQuantity: k.product.StockQuantity, IsActive: k.product.IsActive, ViewCount: views,
		CreatedAt: k.product.CreatedAt, UpdatedAt: k.product.UpdatedAt, CategoryId: k.product.CategoryId,
	}
}

// keep keeps what the server has answered to a call that began at askedAt, and returns it as it is to
// be shown: with no fewer views than anybody has seen here.
func (p *Products) keep(id int64, product *productv1.Product, askedAt time.Time) *productv1.Product {
	p.mu.RLock()
	e := p.entries[id]
	if e == nil && len(p.entries) < p.options.ProductsMax {
		p.mu.RUnlock()
		p.add(id, askedAt)
		p.mu.RLock()
		e = p.entries[id]
	}
	defer p.mu.RUnlock()
	if e == nil {
		return product
	}
	e.keep(&kept{product, askedAt})
	e.refreshAt.Store(int64(p.clock(askedAt) + p.options.AgeMax/2))
	// What is not reported yet is not among what the server had counted when it answered.
	return (&kept{product: product}).with(e.show(product.ViewCount + e.views.Load()))
}

// forget drops the copy of a product that is gone.
func (p *Products) forget(id int64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if e := p.entries[id]; e != nil {
		e.copy.Store(nil)
	}
}

func (p *Products) add(id int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.entries[id] != nil || len(p.entries) >= p.options.ProductsMax {
		return
	}
	e := &entry{}
	e.usedAt.Store(int64(p.clock(now)))
	p.entries[id] = e
}

// keep leaves alone what was asked for later.
func (e *entry) keep(k *kept) {
	for {
		old := e.copy.Load()
		if old != nil && !old.askedAt.Before(k.askedAt) {
			return
		}
		if e.copy.CompareAndSwap(old, k) {
			return
		}
	}
}

// show says how many views are to be shown to whom the server has answered: no fewer than others saw
// here, who may have been answered later and shown earlier, so this view may be among them.
func (e *entry) show(counted int64) int64 {
	for {
		shown := e.shown.Load()
		next := max(shown, counted)
		if e.shown.CompareAndSwap(shown, next) {
			return next
		}
	}
}

// Len counts the copies.
func (p *Products) Len() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.entries)
}

// Close reports what is left, and tries again until ctx is done. It returns how many views are lost
// all the same. To be called after the last Call. Idempotent.
func (p *Products) Close(ctx context.Context) (lost int64) {
	p.closing.Do(func() {
		close(p.stop)
		p.done.Wait()
		for !p.flush(ctx) && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(p.options.FlushInterval):
			}
		}
		if p.lost = p.unreported(); p.lost > 0 {
			p.options.Log.Error("views are lost: the server could not be told before the end", "views", p.lost)
		}
	})
	return p.lost
}

func (p *Products) run() {
	tick := time.NewTicker(p.options.FlushInterval)
	defer tick.Stop()
	ctx := context.Background()
	for looked := p.clock(time.Now()); ; {
		p.flush(ctx)
		select {
		case <-p.stop:
			return
		case at := <-tick.C:
			if now := p.clock(at); now-looked >= idleMax/10 {
				looked = now
				p.dropIdle(now)
			}
		}
	}
}

// A report is of views that are on their way to the server.
type report struct {
	entries []*entry
	request *edgev1.CountViewsRequest
	views   int64
}

// flush reports all views; false: some were not taken, and are kept for the next time. While nothing
// is shown from copies it asks, with an empty report, whether that may begin.
func (p *Products) flush(ctx context.Context) bool {
	reports := p.takeViews()
	if len(reports) == 0 && !p.counting.Load() {
		reports = []*report{{request: &edgev1.CountViewsRequest{}}}
	}
	for i, r := range reports {
		refused, err := p.send(ctx, r)
		if err == nil {
			p.options.Observe.EdgeViewsCounted(r.views)
			continue
		}
		rest := reports[i+1:]
		if refused {
			rest = reports[i:]
		} else if r.views > 0 {
			p.options.Observe.EdgeViewsLost(r.views)
			p.options.Log.Warn("views may be lost: the server's answer did not come", "views", r.views, "error", err)
		}
		for _, r := range rest {
			r.putBack()
		}
		p.setCounting(false, err)
		return len(rest) == 0
	}
	p.setCounting(true, nil)
	return true
}

func (r *report) putBack() {
	for i, e := range r.entries {
		e.views.Add(r.request.Products[i].Views)
	}
}

func (p *Products) takeViews() (reports []*report) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var r *report
	for id, e := range p.entries {
		views := e.views.Swap(0)
		if views == 0 {
			continue
		}
		if r == nil || len(r.entries) == reportMax {
			r = &report{request: &edgev1.CountViewsRequest{}}
			reports = append(reports, r)
		}
		r.entries = append(r.entries, e)
		r.request.Products = append(r.request.Products, &edgev1.ProductViews{ProductId: id, Views: views})
		r.views += views
	}
	return reports
}

// send says, when it fails, whether the server has counted nothing, for sure.
func (p *Products) send(ctx context.Context, r *report) (refused bool, err error) {
	timeout := p.options.CallTimeout
	if end, bounded := ctx.Deadline(); bounded {
		timeout = max(min(timeout, time.Until(end)), time.Millisecond)
	}
	begun, err := p.server.Call(ctx, lane.Terms{Timeout: timeout},
		edgev1.EdgeService_CountViews_FullMethodName, r.request, &edgev1.CountViewsResponse{})
	s, _ := status.FromError(err)
	refused = !begun || s.Code() == codes.Unimplemented || s.Code() == codes.InvalidArgument ||
		s.Code() == codes.Unavailable && len(s.Proto().GetDetails()) > 0
	return refused, err
}

func (p *Products) setCounting(counting bool, err error) {
	if p.counting.Swap(counting) == counting {
		return
	}
	if counting {
		p.options.Log.Info("products are shown from copies: the server counts their views")
	} else {
		p.options.Log.Warn("nothing is shown from copies: the server does not count their views", "error", err)
	}
}

// dropIdle looks under the read lock, so that it holds up nobody when there is nothing to drop.
func (p *Products) dropIdle(now time.Duration) {
	var idle []int64
	p.mu.RLock()
	for id, e := range p.entries {
		if e.isIdle(now) {
			idle = append(idle, id)
		}
	}
	p.mu.RUnlock()
	if len(idle) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range idle {
		if p.entries[id].isIdle(now) {
			delete(p.entries, id)
		}
	}
}

func (e *entry) isIdle(now time.Duration) bool {
	return e.views.Load() == 0 && now-time.Duration(e.usedAt.Load()) >= idleMax
}

func (p *Products) unreported() (views int64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, e := range p.entries {
		views += e.views.Load()
	}
	return views
}
