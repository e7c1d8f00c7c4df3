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
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/internal/fake"
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
	c := New(server, options)
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	waitFor(t, "the lanes to be up", func() bool { return c.Up() == lanes })
	return c, counts
}

func startFake(t testing.TB, intercept func(context.Context, string) (any, error)) (socket string, server *fake.Server) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "server.sock")
	return socket, fake.Start(t, fake.Listen(t, socket), intercept)
}

func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func getProduct(ctx context.Context, c grpc.ClientConnInterface, id int64, options ...grpc.CallOption) (int64, error) {
	answer, err := productv1.NewProductServiceClient(c).GetProduct(ctx, &productv1.GetProductRequest{ProductId: id}, options...)
	return answer.GetProduct().GetId(), err
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
func askAll(t testing.TB, c grpc.ClientConnInterface, n int64) {
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
		_, err := couponv1.NewCouponServiceClient(c).IssueCoupon(ctx, &couponv1.IssueCouponRequest{CouponId: 1, UserId: 1})
		issued <- err
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
	waitFor(t, "the calls to reach the server", func() bool { return entered.Load() == bound })
	var handedTo peer.Peer
	_, err := getProduct(ctx, c, 7, grpc.Peer(&handedTo))
	if status.Code(err) != codes.Unavailable || handedTo.Addr != nil || counts.refused.Load() != 1 {
		t.Errorf("beyond the bound: %v, handed to %v, %d refused", err, handedTo.Addr, counts.refused.Load())
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

func TestACallEndsWithItsContextAndTheServerIsTold(t *testing.T) {
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
	ctx, cancel = context.WithTimeout(within(t), 20*time.Millisecond)
	defer cancel()
	if _, err := getProduct(ctx, c, 1); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("late: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the server's call had no deadline")
	}
	if _, err := getProduct(ctx, c, 1); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("too late from the beginning: %v", err)
	}
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
	var handedTo peer.Peer
	_, err := getProduct(within(t), c, 1, grpc.Peer(&handedTo))
	if s := status.Convert(err); s.Code() != codes.Unavailable || len(s.Details()) != 0 || handedTo.Addr == nil {
		t.Errorf("got %v, handed to %v", err, handedTo.Addr)
	}
	waitFor(t, "the lanes to be down", func() bool { return c.Up() == 0 })
	fake.Start(t, fake.Listen(t, socket), nil)
	waitFor(t, "the lanes to be up again", func() bool { return c.Up() == 2 })
	askAll(t, c, 10)
}

func TestCallsThatWereNotBegunAreKnownNotToHaveBeen(t *testing.T) {
	for name, clean := range map[string]bool{"broken": false, "ended by the server": true} {
		l := newLane(nil, Usual(1, &counter{}, nil))
		l.goUp(peer.Peer{Addr: &net.UnixAddr{Name: "server"}})
		results := map[string]chan error{"waiting": make(chan error, 1), "sent": make(chan error, 1)}
		peers := map[string]*peer.Peer{"waiting": {}, "sent": {}}
		for _, state := range []string{"sent", "waiting"} {
			call := takeCall()
			if _, err := l.add(call); err != nil {
				t.Fatal(err)
			}
			if state == "sent" {
				l.take(newFrame())
			}
			go func() {
				results[state] <- l.await(context.Background(), call, &productv1.GetProductResponse{}, peers[state])
			}()
		}
		l.goDown(clean)
		for state, result := range results {
			if err := <-result; status.Code(err) != codes.Unavailable {
				t.Errorf("%s, %s: %v", name, state, err)
			}
			unknown := state == "sent" && !clean
			if (peers[state].Addr != nil) != unknown {
				t.Errorf("%s, %s: handed to %v", name, state, peers[state].Addr)
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
	c := New(conn, Usual(2, counts, slog.New(slog.DiscardHandler)))
	defer c.Close()
	askAll(t, c, 10)
	if counts.passedBy.Load() != 10 || counts.up.Load() != 0 {
		t.Errorf("%d passed by, %d lanes up", counts.passedBy.Load(), counts.up.Load())
	}
}

func TestWhatALaneCannotCarryGoesTheOrdinaryWay(t *testing.T) {
	socket, server := startFake(t, nil)
	c, counts := connect(t, socket, 1, nil)
	client := couponv1.NewCouponServiceClient(c)
	for name, call := range map[string]struct {
		ctx context.Context
		key string
	}{
		"other metadata":  {metadata.AppendToOutgoingContext(within(t), "x-user", "7"), "k"},
		"repeated":        {metadata.AppendToOutgoingContext(within(t), "traceparent", "1", "traceparent", "2"), "k"},
		"a large request": {within(t), strings.Repeat("k", callBytesMax)},
	} {
		_, err := client.IssueCoupon(call.ctx, &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7, IdempotencyKey: proto.String(call.key)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(server.Last(t).Metadata[":authority"]) != 1 {
			t.Errorf("%s: the call came by lane", name)
		}
	}
	ctx := metadata.AppendToOutgoingContext(within(t), "traceparent", "1", "x-request-id", "2")
	if _, err := client.IssueCoupon(ctx, &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7}); err != nil {
		t.Error(err)
	}
	got := server.Last(t)
	if len(got.Metadata) != 2 || got.Metadata["traceparent"][0] != "1" || got.Metadata["x-request-id"][0] != "2" || !got.Deadline || counts.sent.Load() != 1 {
		t.Errorf("by lane came %v, deadline %v", got.Metadata, got.Deadline)
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
	waitFor(t, "the lane to close", func() bool { return c.Up() == 0 })
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
