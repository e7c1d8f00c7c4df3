package lane

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/internal/fake"
	"ecom/gateway/internal/wait"
)

// patience bounds every wait in these tests: far above what any takes.
const patience = 20 * time.Second

// A counter is an Observer that adds up.
type counter struct {
	up, down, sent, received, refused, passedBy atomic.Int64
}

func (c *counter) LaneUp()            { c.up.Add(1) }
func (c *counter) LaneDown()          { c.down.Add(1) }
func (c *counter) LaneSent(n int)     { c.sent.Add(int64(n)) }
func (c *counter) LaneReceived(n int) { c.received.Add(int64(n)) }
func (c *counter) LaneRefused()       { c.refused.Add(1) }
func (c *counter) LanePassedBy()      { c.passedBy.Add(1) }

// connect opens lanes to a Unix socket and waits until they are up.
func connect(t testing.TB, socket string, lanes int, change func(*Options)) (*Conn, *counter) {
	t.Helper()
	server, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	counts := &counter{}
	options := Usual(lanes, counts, slog.New(slog.DiscardHandler))
	if change != nil {
		change(&options)
	}
	c := New(server, []Server{server}, options)
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	wait.Until(t, "the lanes to be up", func() bool { return c.Up() == lanes })
	return c, counts
}

func startFake(t testing.TB, intercept func(context.Context, string) (any, error)) (socket string, server *fake.Server) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "server.sock")
	return socket, fake.Start(t, fake.Listen(t, socket), intercept)
}

// terms are those of calls of which a test has nothing to say about them.
var terms = Terms{RequestID: "r", Timeout: patience}

func getProduct(ctx context.Context, c *Conn, id int64) (int64, error) {
	got, _, err := getProductOn(ctx, c, terms, id)
	return got, err
}

func getProductOn(ctx context.Context, c *Conn, terms Terms, id int64) (got int64, begun bool, err error) {
	var answer productv1.GetProductResponse
	begun, err = c.Call(ctx, terms, productv1.ProductService_GetProduct_FullMethodName, &productv1.GetProductRequest{ProductId: id}, &answer)
	return answer.GetProduct().GetId(), begun, err
}

func issueCoupon(ctx context.Context, c *Conn, terms Terms, key string) error {
	request := &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7, IdempotencyKey: &key}
	_, err := c.Call(ctx, terms, couponv1.CouponService_IssueCoupon_FullMethodName, request, &couponv1.IssueCouponResponse{})
	return err
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestEachCallGetsItsOwnAnswer(t *testing.T) {
	socket, _ := startFake(t, nil)
	c, counts := connect(t, socket, 2, nil)
	askAll(t, c, 2000)
	if counts.sent.Load() != 2000 || counts.received.Load() != 2000 || counts.passedBy.Load() != 0 {
		t.Errorf("counted %d calls, %d answers, %d past the lanes", counts.sent.Load(), counts.received.Load(), counts.passedBy.Load())
	}
}

// askAll makes calls, 64 at a time, every third of which is refused.
func askAll(t testing.TB, c *Conn, n int64) {
	t.Helper()
	ctx := within(t)
	var next atomic.Int64
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for i := next.Add(1); i <= n; i = next.Add(1) {
				if i%3 == 0 {
					if _, err := getProduct(ctx, c, 100+i); status.Code(err) != codes.NotFound || len(status.Convert(err).Details()) != 1 {
						t.Errorf("%d: %v", i, err)
					}
					continue
				}
				if got, err := getProduct(ctx, c, 1+i%100); err != nil || got != 1+i%100 {
					t.Errorf("%d: got %d, %v", i, got, err)
				}
			}
		})
	}
	callers.Wait()
}

func TestAnswersComeInAnyOrder(t *testing.T) {
	release := make(chan struct{})
	socket, _ := startFake(t, func(_ context.Context, method string) (any, error) {
		if method == couponv1.CouponService_IssueCoupon_FullMethodName {
			<-release
		}
		return nil, nil
	})
	c, _ := connect(t, socket, 1, nil)
	ctx := within(t)
	issued := make(chan error)
	go func() {
		issued <- issueCoupon(ctx, c, terms, "k")
	}()
	askAll(t, c, 10)
	select {
	case err := <-issued:
		t.Errorf("answered early: %v", err)
	default:
	}
	close(release)
	if err := <-issued; err != nil {
		t.Error(err)
	}
}

func TestAsManyCallsAsTheBoundAreInFlightAndMoreAreRefusedAtOnce(t *testing.T) {
	var entered atomic.Int64
	release := make(chan struct{})
	socket, _ := startFake(t, func(context.Context, string) (any, error) {
		entered.Add(1)
		<-release
		return nil, nil
	})
	c, counts := connect(t, socket, 1, nil)
	ctx := within(t)
	const bound = 4096
	var callers sync.WaitGroup
	for range bound {
		callers.Go(func() {
			if got, err := getProduct(ctx, c, 7); err != nil || got != 7 {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
	wait.Until(t, "the calls to reach the server", func() bool { return entered.Load() == bound })
	_, begun, err := getProductOn(ctx, c, terms, 7)
	if status.Code(err) != codes.Unavailable || begun || counts.refused.Load() != 1 {
		t.Errorf("beyond the bound: %v, begun %v, %d refused", err, begun, counts.refused.Load())
	}
	close(release)
	callers.Wait()
}

func TestMoreThanFitsIntoAFrameGoesInSeveral(t *testing.T) {
	socket, _ := startFake(t, nil)
	c, _ := connect(t, socket, 1, func(o *Options) { o.FrameBytesMax = 200 })
	askAll(t, c, 1000)
}

func TestAStreamInSlicesOfOneByteIsTheSameStream(t *testing.T) {
	socket, _ := startFake(t, nil)
	c, _ := connect(t, slicing(t, socket), 2, nil)
	askAll(t, c, 200)
}

// slicing is a proxy that passes single bytes on.
func slicing(t testing.TB, target string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "slices.sock")
	l := fake.Listen(t, socket)
	t.Cleanup(func() { l.Close() })
	pass := func(from, to net.Conn) {
		defer to.Close()
		b := make([]byte, 1)
		for {
			if _, err := io.ReadFull(from, b); err != nil {
				return
			}
			if _, err := to.Write(b); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", target)
			if err != nil {
				client.Close()
				continue
			}
			go pass(client, server)
			go pass(server, client)
		}
	}()
	return socket
}

func TestACallEndsWithItsContextOrItsTimeAndTheServerIsTold(t *testing.T) {
	ended := make(chan error, 2)
	entered := make(chan struct{}, 2)
	socket, _ := startFake(t, func(ctx context.Context, _ string) (any, error) {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	c, _ := connect(t, socket, 1, nil)

	ctx, cancel := context.WithCancel(within(t))
	go func() {
		<-entered
		cancel()
	}()
	if _, err := getProduct(ctx, c, 1); status.Code(err) != codes.Canceled {
		t.Errorf("cancelled: %v", err)
	}
	if err := <-ended; err != context.Canceled {
		t.Errorf("the server's call ended with %v", err)
	}
	late := terms
	late.Timeout = 20 * time.Millisecond
	if _, _, err := getProductOn(within(t), c, late, 1); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("late: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the server's call had no deadline")
	}
	if _, begun, err := getProductOn(ctx, c, terms, 1); status.Code(err) != codes.Canceled || begun {
		t.Errorf("too late from the beginning: %v, begun %v", err, begun)
	}
}

func TestACallEndsAtItsTimeThoughTheServerSaysNothing(t *testing.T) {
	release := make(chan struct{})
	socket, _ := startFake(t, func(context.Context, string) (any, error) {
		<-release
		return nil, nil
	})
	c, _ := connect(t, socket, 1, nil)
	short := terms
	short.Timeout = 20 * time.Millisecond
	ended := make(chan error, 1)
	go func() {
		_, _, err := getProductOn(within(t), c, short, 1)
		ended <- err
	}()
	select {
	case err := <-ended:
		if status.Code(err) != codes.DeadlineExceeded {
			t.Error(err)
		}
	case <-time.After(patience / 2):
		t.Error("still waiting")
	}
	close(release)
}

func TestALaneThatBreaksLeavesSentCallsUnknownAndComesBack(t *testing.T) {
	entered := make(chan struct{}, 1)
	socket, server := startFake(t, func(ctx context.Context, _ string) (any, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	c, _ := connect(t, socket, 2, nil)
	go func() {
		<-entered
		server.Stop()
	}()
	_, begun, err := getProductOn(within(t), c, terms, 1)
	if s := status.Convert(err); s.Code() != codes.Unavailable || len(s.Details()) != 0 || !begun {
		t.Errorf("got %v, begun %v", err, begun)
	}
	wait.Until(t, "the lanes to be down", func() bool { return c.Up() == 0 })
	fake.Start(t, fake.Listen(t, socket), nil)
	wait.Until(t, "the lanes to be up again", func() bool { return c.Up() == 2 })
	askAll(t, c, 10)
}

func TestCallsThatWereNotBegunAreKnownNotToHaveBeen(t *testing.T) {
	for name, clean := range map[string]bool{"broken": false, "ended by the server": true} {
		l := newLane(nil, Usual(1, &counter{}, nil))
		l.goUp()
		type result struct {
			begun bool
			err   error
		}
		results := map[string]chan result{"waiting": make(chan result, 1), "sent": make(chan result, 1)}
		for _, state := range []string{"sent", "waiting"} {
			call := takeCall()
			if _, err := l.add(call); err != nil {
				t.Fatal(err)
			}
			if state == "sent" {
				l.take(newFrame())
			}
			go func() {
				begun, err := l.await(context.Background(), call, patience, &productv1.GetProductResponse{})
				results[state] <- result{begun, err}
			}()
		}
		l.goDown(clean)
		for state, result := range results {
			r := <-result
			if status.Code(r.err) != codes.Unavailable || r.begun != (state == "sent" && !clean) {
				t.Errorf("%s, %s: %v, begun %v", name, state, r.err, r.begun)
			}
		}
	}
}

func TestWithoutALaneCallsGoTheOrdinaryWay(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "server.sock")
	l := fake.Listen(t, socket)
	server := grpc.NewServer() // knows no lanes
	productv1.RegisterProductServiceServer(server, &fake.Server{})
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	counts := &counter{}
	c := New(conn, []Server{conn}, Usual(2, counts, slog.New(slog.DiscardHandler)))
	defer c.Close()
	askAll(t, c, 10)
	if counts.passedBy.Load() != 10 || counts.up.Load() != 0 {
		t.Errorf("%d passed by, %d lanes up", counts.passedBy.Load(), counts.up.Load())
	}
}

func TestWhatALaneCannotCarryGoesTheOrdinaryWay(t *testing.T) {
	socket, server := startFake(t, nil)
	c, counts := connect(t, socket, 1, nil)
	both := Terms{RequestID: "2", TraceParent: "1", Timeout: patience}
	for name, byLane := range map[string]bool{"k": true, strings.Repeat("k", callBytesMax): false} {
		if err := issueCoupon(within(t), c, both, name); err != nil {
			t.Errorf("%.1s: %v", name, err)
		}
		got := server.Last(t)
		if (len(got.Metadata[":authority"]) == 0) != byLane {
			t.Errorf("by lane %v: came with %v", byLane, got.Metadata)
		}
		if got.Metadata["traceparent"][0] != "1" || got.Metadata["x-request-id"][0] != "2" || !got.Deadline {
			t.Errorf("by lane %v: came with %v, deadline %v", byLane, got.Metadata, got.Deadline)
		}
	}
	if counts.sent.Load() != 1 {
		t.Errorf("%d calls by lane", counts.sent.Load())
	}
}

func TestClosingWaitsForAnswersAndLetsNothingIn(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	socket, _ := startFake(t, func(context.Context, string) (any, error) {
		entered <- struct{}{}
		<-release
		return nil, nil
	})
	c, _ := connect(t, socket, 1, nil)
	answered := make(chan error)
	go func() {
		_, err := getProduct(context.Background(), c, 1)
		answered <- err
	}()
	<-entered
	closed := make(chan struct{})
	go func() {
		c.Close()
		close(closed)
	}()
	wait.Until(t, "the lane to close", func() bool { return c.Up() == 0 })
	close(release)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("Close did not return")
	}
}

func BenchmarkGetProduct(b *testing.B) {
	socket, _ := startFake(b, nil)
	c, _ := connect(b, socket, 2, nil)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := getProduct(context.Background(), c, 1); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
