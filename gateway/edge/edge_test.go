package edge

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	edgev1 "ecom/gateway/gen/ecom/edge/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/lane"
)

// A server counts what it is told, unless it is made to fail.
type server struct {
	mu      sync.Mutex
	views   map[int64]int64
	calls   int
	largest int
	fail    error // after it has counted, if countsAll
	counts  bool
	reached bool // the call came as far as a connection
	others  []string

	refuseNext int // so many reports
}

func newServer() *server { return &server{views: map[int64]int64{}, counts: true, reached: true} }

func (s *server) Call(_ context.Context, _ lane.Terms, method string, request, reply proto.Message) (begun bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	switch request := request.(type) {
	case *edgev1.CountViewsRequest:
		if s.refuseNext > 0 {
			s.refuseNext--
			return false, status.Error(codes.Unavailable, "full")
		}
		s.largest = max(s.largest, len(request.GetProducts()))
		if s.counts {
			for _, each := range request.GetProducts() {
				s.views[each.GetProductId()] += each.GetViews()
			}
		}
	case *productv1.GetProductRequest:
		if s.fail != nil {
			break
		}
		id := request.GetProductId()
		s.views[id]++
		reply.(*productv1.GetProductResponse).Product = product(id, s.views[id])
	default:
		s.others = append(s.others, method)
	}
	return s.reached, s.fail
}

func (s *server) set(counts, reached bool, fail error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.reached, s.fail = counts, reached, fail
}

func (s *server) seen() (calls, largest int, others []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.largest, s.others
}

func (s *server) counted(id int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.views[id]
}

type observer struct{ answered, counted, lost atomic.Int64 }

func (o *observer) EdgeAnswered()            { o.answered.Add(1) }
func (o *observer) EdgeViewsCounted(n int64) { o.counted.Add(n) }
func (o *observer) EdgeViewsLost(n int64)    { o.lost.Add(n) }

const ageMax = 200 * time.Millisecond

// with runs a test on a clock of its own.
func with(t *testing.T, test func(t *testing.T, p *Products, s *server, o *observer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, o := newServer(), &observer{}
		options := Usual(ageMax, time.Second, o, slog.New(slog.DiscardHandler))
		options.ProductsMax = 1000
		p := New(s, options)
		defer func() { closeIn(p, time.Second) }()
		synctest.Wait() // until the server has said that it counts
		s.calls = 0
		test(t, p, s, o)
	})
}

func closeIn(p *Products, patience time.Duration) (lost int64) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return p.Close(ctx)
}

func product(id, views int64) *productv1.Product {
	return &productv1.Product{Id: id, Name: "상품", PriceMinor: 100, ViewCount: views}
}

func keep(p *Products, id, views int64) *productv1.Product {
	return p.keep(id, product(id, views), time.Now())
}

func wantViews(t *testing.T, got *productv1.Product, want int64) {
	t.Helper()
	if got == nil {
		t.Fatalf("nothing is shown, want %d views", want)
	}
	if got.GetViewCount() != want {
		t.Fatalf("%d views are shown, want %d", got.GetViewCount(), want)
	}
}

func TestACopyIsShownUntilItIsTooOldAndOneCallerRefreshesIt(t *testing.T) {
	with(t, func(t *testing.T, p *Products, _ *server, o *observer) {
		if p.take(1, time.Now()) != nil {
			t.Fatal("a product is shown that nobody has read")
		}
		keep(p, 1, 10)
		wantViews(t, p.take(1, time.Now()), 11)
		time.Sleep(ageMax / 2)
		if p.take(1, time.Now()) != nil {
			t.Fatal("nobody is told to refresh it")
		}
		wantViews(t, p.take(1, time.Now()), 12) // another one is on the way
		time.Sleep(ageMax / 4)
		if p.take(1, time.Now()) != nil {
			t.Fatal("nobody is told again after the first one came to nothing")
		}
		wantViews(t, p.take(1, time.Now()), 13)
		time.Sleep(ageMax / 4)
		for range 3 {
			if p.take(1, time.Now()) != nil {
				t.Fatal("a copy is shown that is too old")
			}
		}
		if got := o.answered.Load(); got != 3 {
			t.Errorf("%d answers, want 3", got)
		}
	})
}

func TestACopyHoldsAllOfTheProduct(t *testing.T) {
	with(t, func(t *testing.T, p *Products, _ *server, _ *observer) {
		whole := &productv1.Product{
			Id: 7, Name: "n", PriceMinor: 1, StockQuantity: 2, IsActive: true, ViewCount: 3, CategoryId: 4,
			CreatedAt: &timestamppb.Timestamp{Seconds: 5}, UpdatedAt: &timestamppb.Timestamp{Seconds: 6},
		}
		fields := whole.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			if !whole.ProtoReflect().Has(fields.Get(i)) {
				t.Fatalf("this test does not know of %s", fields.Get(i).Name())
			}
		}
		p.keep(7, whole, time.Now())
		want := proto.CloneOf(whole)
		want.ViewCount++
		if got := p.take(7, time.Now()); !proto.Equal(got, want) {
			t.Errorf("it is shown as %v", got)
		}
	})
}

func TestEachViewOfACopyIsCountedOnce(t *testing.T) {
	with(t, func(t *testing.T, p *Products, s *server, o *observer) {
		const products, callers, each = 900, 8, 5 // more products than one report holds
		for id := int64(1); id <= products; id++ {
			keep(p, id, 1)
		}
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for id := int64(1); id <= products; id++ {
					for range each {
						p.take(id, time.Now())
					}
				}
			})
		}
		all.Wait()
		time.Sleep(300 * time.Millisecond)
		for id := int64(1); id <= products; id++ {
			if got := s.counted(id); got != callers*each {
				t.Fatalf("%d views of product %d are counted, want %d", got, id, callers*each)
			}
		}
		if got := o.counted.Load(); got != products*callers*each {
			t.Errorf("%d views are said to be counted", got)
		}
		calls, largest, _ := s.seen()
		if largest > reportMax {
			t.Errorf("a report has %d products", largest)
		}
		time.Sleep(time.Second)
		if now, _, _ := s.seen(); now != calls {
			t.Error("nothing was reported, too")
		}
	})
}

func TestViewsThatTheServerRefusesAreKeptBackAndNothingIsShownMeanwhile(t *testing.T) {
	draining, err := status.New(codes.Unavailable, "draining").WithDetails(&errdetails.ErrorInfo{Domain: "ecom"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		reached bool
		err     error
	}{
		"never sent": {false, status.Error(codes.Unavailable, "no connection")},
		"draining":   {true, draining.Err()},
		"not known":  {true, status.Error(codes.Unimplemented, "no such method")},
	} {
		t.Run(name, func(t *testing.T) {
			with(t, func(t *testing.T, p *Products, s *server, o *observer) {
				s.set(false, c.reached, c.err)
				keep(p, 1, 10)
				wantViews(t, p.take(1, time.Now()), 11)
				time.Sleep(300 * time.Millisecond)
				keep(p, 1, 11)
				if p.take(1, time.Now()) != nil {
					t.Fatal("a view is shown that may never be counted")
				}
				s.set(true, true, nil)
				time.Sleep(300 * time.Millisecond)
				if got := s.counted(1); got != 1 {
					t.Fatalf("%d views are counted, want 1", got)
				}
				keep(p, 1, 13)
				if p.take(1, time.Now()) == nil {
					t.Error("nothing is shown though views are counted again")
				}
				if o.lost.Load() != 0 {
					t.Error("views are said to be lost")
				}
			})
		})
	}
}

func TestViewsAreNotReportedAgainWhenItIsUnknownWhetherTheyWereCounted(t *testing.T) {
	for name, failed := range map[string]error{
		"broken":  status.Error(codes.Unavailable, "the connection broke"),
		"timeout": status.Error(codes.DeadlineExceeded, "too late"),
	} {
		t.Run(name, func(t *testing.T) {
			with(t, func(t *testing.T, p *Products, s *server, o *observer) {
				s.set(true, true, failed)
				keep(p, 1, 10)
				for range 5 {
					p.take(1, time.Now())
				}
				time.Sleep(300 * time.Millisecond)
				s.set(true, true, nil)
				time.Sleep(200 * time.Millisecond)
				keep(p, 1, 11)
				p.take(1, time.Now())
				time.Sleep(time.Second)
				if got := s.counted(1); got != 6 {
					t.Errorf("%d views are counted, want 6", got)
				}
				if got := o.lost.Load(); got != 5 {
					t.Errorf("%d views are said to be lost, want 5", got)
				}
			})
		})
	}
}

func TestTheCountThatIsShownIsTheTrueOneAndNeverGoesDown(t *testing.T) {
	with(t, func(t *testing.T, p *Products, _ *server, _ *observer) {
		keep(p, 1, 10)
		for want := int64(11); want <= 20; want++ {
			wantViews(t, p.take(1, time.Now()), want)
		}
		wantViews(t, keep(p, 1, 11), 21) // the server has not heard of those ten
		wantViews(t, p.take(1, time.Now()), 22)
		wantViews(t, keep(p, 1, 9), 22)  // a server that has not heard of this one's either
		wantViews(t, keep(p, 1, 29), 40) // others have looked, too
		wantViews(t, p.take(1, time.Now()), 41)
	})
}

func TestAnAnswerThatWasAskedForEarlierReplacesNone(t *testing.T) {
	with(t, func(t *testing.T, p *Products, _ *server, _ *observer) {
		early := time.Now()
		time.Sleep(time.Millisecond)
		p.keep(1, &productv1.Product{Id: 1, PriceMinor: 2, ViewCount: 2}, time.Now())
		p.keep(1, &productv1.Product{Id: 1, PriceMinor: 1, ViewCount: 1}, early)
		if got := p.take(1, time.Now()).GetPriceMinor(); got != 2 {
			t.Errorf("the price is %d, want 2", got)
		}
	})
}

func TestAProductThatIsGoneIsNotShown(t *testing.T) {
	with(t, func(t *testing.T, p *Products, _ *server, _ *observer) {
		keep(p, 1, 10)
		p.forget(1)
		if p.take(1, time.Now()) != nil {
			t.Error("it is shown")
		}
		p.forget(2)
		if got := p.Len(); got != 1 {
			t.Errorf("%d products are kept, want 1", got)
		}
	})
}

func TestProductsAreBoundedAndIdleOnesDropped(t *testing.T) {
	with(t, func(t *testing.T, p *Products, _ *server, _ *observer) {
		for id := int64(1); id <= 1001; id++ {
			wantViews(t, keep(p, id, 5), 5)
		}
		if got := p.Len(); got != 1000 {
			t.Fatalf("%d products are kept, want 1000", got)
		}
		time.Sleep(idleMax / 2)
		p.take(1, time.Now())
		time.Sleep(idleMax/2 + time.Second)
		if got := p.Len(); got != 1 {
			t.Errorf("%d products are kept, want the one that was asked for", got)
		}
	})
}

func TestTheCountThatIsShownIsNeverAboveTheTruthThoughAnswersOvertakeEachOther(t *testing.T) {
	with(t, func(t *testing.T, p *Products, _ *server, _ *observer) {
		const readers = 64
		for counted := int64(readers); counted >= 1; counted-- { // the last one to be counted is handled first
			if got := keep(p, 1, counted).GetViewCount(); got > readers {
				t.Fatalf("%d views are shown, of %d", got, readers)
			}
		}
		wantViews(t, p.take(1, time.Now()), readers+1)
	})
}

func TestCopiesAreShownAgainAfterARefusalAndALostAnswer(t *testing.T) {
	with(t, func(t *testing.T, p *Products, s *server, o *observer) {
		s.set(false, false, status.Error(codes.Unavailable, "no connection"))
		keep(p, 1, 10)
		p.take(1, time.Now())
		time.Sleep(300 * time.Millisecond)
		s.set(false, true, status.Error(codes.Unavailable, "the connection broke"))
		time.Sleep(200 * time.Millisecond)
		if got := o.lost.Load(); got != 1 {
			t.Fatalf("%d views are said to be lost, want 1", got)
		}
		s.set(true, true, nil)
		time.Sleep(200 * time.Millisecond)
		keep(p, 1, 11)
		if p.take(1, time.Now()) == nil {
			t.Error("nothing is shown")
		}
	})
}

func TestNothingIsShownBeforeTheServerHasSaidThatItCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.set(false, true, status.Error(codes.Unimplemented, "an older server"))
		p := New(s, Usual(ageMax, time.Second, &observer{}, slog.New(slog.DiscardHandler)))
		defer func() { closeIn(p, time.Second) }()
		synctest.Wait()
		keep(p, 1, 10)
		if p.take(1, time.Now()) != nil {
			t.Error("a view is shown that nobody counts")
		}
		s.set(true, true, nil)
		time.Sleep(300 * time.Millisecond)
		keep(p, 1, 11)
		if p.take(1, time.Now()) == nil {
			t.Error("nothing is shown though the server counts")
		}
	})
}

func TestCloseReportsWhatIsLeftAndSaysWhatIsLost(t *testing.T) {
	with(t, func(t *testing.T, p *Products, s *server, _ *observer) {
		keep(p, 1, 10)
		p.take(1, time.Now())
		if lost := closeIn(p, time.Second); s.counted(1) != 1 || lost != 0 {
			t.Errorf("%d views are counted and %d lost, want 1 and 0", s.counted(1), lost)
		}
	})
	with(t, func(t *testing.T, p *Products, s *server, _ *observer) {
		s.set(false, false, status.Error(codes.Unavailable, "no connection"))
		keep(p, 1, 10)
		p.take(1, time.Now())
		began := time.Now()
		if lost := closeIn(p, time.Second); lost != 1 || time.Since(began) > time.Second {
			t.Errorf("%d views are said to be lost after %v, want 1", lost, time.Since(began))
		}
	})
}

func TestCloseTriesAgainUntilAllReportsAreTaken(t *testing.T) {
	with(t, func(t *testing.T, p *Products, s *server, _ *observer) {
		const products = 2 * reportMax
		for id := int64(1); id <= products; id++ {
			keep(p, id, 1)
			p.take(id, time.Now())
		}
		s.mu.Lock()
		s.refuseNext = 1
		s.mu.Unlock()
		if lost := closeIn(p, 5*time.Second); lost != 0 {
			t.Errorf("%d views are lost", lost)
		}
		for id := int64(1); id <= products; id++ {
			if got := s.counted(id); got != 1 {
				t.Fatalf("%d views of product %d are counted, want 1", got, id)
			}
		}
	})
}

func get(p *Products, id int64) (*productv1.Product, error) {
	var reply productv1.GetProductResponse
	_, err := p.Call(context.Background(), lane.Terms{}, productv1.ProductService_GetProduct_FullMethodName,
		&productv1.GetProductRequest{ProductId: id}, &reply)
	return reply.GetProduct(), err
}

func TestCallsAskTheServerOnceForManyReaders(t *testing.T) {
	with(t, func(t *testing.T, p *Products, s *server, _ *observer) {
		for want := int64(1); want <= 100; want++ {
			got, err := get(p, 1)
			if err != nil {
				t.Fatal(err)
			}
			wantViews(t, got, want)
		}
		if calls, _, _ := s.seen(); calls != 1 {
			t.Errorf("the server was asked %d times", calls)
		}
		time.Sleep(time.Second)
		if got := s.counted(1); got != 100 {
			t.Errorf("%d views are counted, want 100", got)
		}
		s.set(true, true, status.Error(codes.NotFound, "gone"))
		if got, err := get(p, 1); status.Code(err) != codes.NotFound || got != nil {
			t.Errorf("got %v, %v", got, err)
		}
		s.set(true, true, nil)
		method := productv1.ProductService_ListProducts_FullMethodName
		if _, err := p.Call(context.Background(), lane.Terms{}, method, &productv1.ListProductsRequest{}, &productv1.ListProductsResponse{}); err != nil {
			t.Fatal(err)
		}
		if _, _, others := s.seen(); len(others) != 1 || others[0] != method {
			t.Errorf("other calls: %v", others)
		}
	})
}
