// Package lane carries unary calls to the server over a few long-lived streams, as many in one
// message as are waiting.
package lane

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	edgev1 "ecom/gateway/gen/ecom/edge/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
)

// Options are the number of lanes and their bounds.
type Options struct {
	Lanes int // to each server
	// CallsMax bounds the calls that wait or are under way on one lane; more are refused. As many as
	// the server takes on one connection.
	CallsMax int
	// FrameBytesMax bounds a frame: well below what the server takes, well above what waits usually.
	FrameBytesMax int
	Observe       Observer
	Log           *slog.Logger
}

// Usual are the bounds that fit the server.
func Usual(lanes int, observe Observer, log *slog.Logger) Options {
	return Options{Lanes: lanes, CallsMax: 4096, FrameBytesMax: 64 << 10, Observe: observe, Log: log}
}

// An Observer is told what lanes do. Its methods are called from many goroutines and must not block.
type Observer interface {
	LaneUp()
	LaneDown()
	LaneSent(calls int)       // in one frame
	LaneReceived(answers int) // in one frame
	LaneRefused()             // a call, because its lane was full
	LanePassedBy()            // a call, sent as a unary one because no lane was up
}

const (
	// callBytesMax is the largest request that goes by lane: what the server takes in a unary call.
	callBytesMax = 16 << 10
	// closeTimeout bounds the wait for the server's last word. Nothing is under way by then.
	closeTimeout = time.Second
)

// methods are those that lanes carry, and methodPlaces where each is in it.
var (
	methods      []string
	methodPlaces = map[string]uint32{}
)

func init() {
	for _, service := range []grpc.ServiceDesc{couponv1.CouponService_ServiceDesc, productv1.ProductService_ServiceDesc, edgev1.EdgeService_ServiceDesc} {
		for _, method := range service.Methods {
			name := "/" + service.ServiceName + "/" + method.MethodName
			methodPlaces[name] = uint32(len(methods))
			methods = append(methods, name)
		}
	}
}

// Terms are what goes with a call beside its messages.
type Terms struct {
	RequestID   string
	TraceParent string        // empty: none
	Timeout     time.Duration // how long the caller waits, which the server is told
}

// A Conn makes unary calls, by the lane with the fewest calls. What a lane has no room for (other methods, large requests),
// and everything while no lane is up, goes the ordinary way. Either way a call has the same results,
// and an error the same meaning. Thread-safe.
type Conn struct {
	unary   grpc.ClientConnInterface
	observe Observer
	lanes   []*lane
	several bool // servers, so that it matters which of them are ready
	next    atomic.Uint32
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// A Server is a connection to one server. It is ready when calls had better go there than elsewhere.
type Server interface {
	grpc.ClientConnInterface
	GetState() connectivity.State
}

// New starts opening lanes to each of the servers, if any are wanted. It does not wait for them. Calls
// that go the ordinary way go to unary.
func New(unary grpc.ClientConnInterface, servers []Server, options Options) *Conn {
	ctx, stop := context.WithCancel(context.Background())
	c := &Conn{unary: unary, observe: options.Observe, several: len(servers) > 1, stop: stop}
	for range options.Lanes {
		for _, server := range servers {
			l := newLane(server, options)
			c.lanes = append(c.lanes, l)
			c.done.Go(func() { l.run(ctx) })
		}
	}
	return c
}

// Close ends the lanes, after what they carry was answered, and breaks off what takes too long.
// Idempotent.
func (c *Conn) Close() {
	for _, l := range c.lanes {
		l.close()
	}
	cut := time.AfterFunc(closeTimeout, c.stop)
	c.done.Wait()
	cut.Stop()
	c.stop()
}

// Up counts the lanes that are in use.
func (c *Conn) Up() (up int) {
	for _, l := range c.lanes {
		if l.isUp() {
			up++
		}
	}
	return up
}

// Waiting counts the calls that are not sent yet.
func (c *Conn) Waiting() (calls int) {
	for _, l := range c.lanes {
		calls += l.waitingCalls()
	}
	return calls
}

// Call makes one call. It blocks until there is an answer, the time is over or ctx is done. When it
// fails, begun says whether the server has, or may have, begun it. Errors have a gRPC status:
// UNAVAILABLE without details is a lane or a connection that broke.
func (c *Conn) Call(ctx context.Context, terms Terms, method string, request, reply proto.Message) (begun bool, err error) {
	place, known := methodPlaces[method]
	if !known || len(c.lanes) == 0 {
		return c.callUnary(ctx, terms, method, request, reply)
	}
	if err := ctx.Err(); err != nil {
		return false, status.FromContextError(err).Err()
	}
	call := takeCall()
	fits, err := call.fill(terms, place, request)
	if err != nil {
		return false, status.Errorf(codes.Internal, "encoding the request: %v", err)
	}
	if !fits {
		return c.callUnary(ctx, terms, method, request, reply)
	}
	l, err := c.add(call)
	if err != nil {
		c.observe.LaneRefused()
		return false, err
	}
	if l == nil {
		c.observe.LanePassedBy()
		return c.callUnary(ctx, terms, method, request, reply)
	}
	return l.await(ctx, call, terms.Timeout, reply)
}

// callUnary makes a call the ordinary way.
func (c *Conn) callUnary(ctx context.Context, terms Terms, method string, request, reply proto.Message) (begun bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, terms.Timeout)
	defer cancel()
	md := metadata.MD{"x-request-id": []string{terms.RequestID}}
	if terms.TraceParent != "" {
		md["traceparent"] = []string{terms.TraceParent}
	}
	var handedTo peer.Peer // stays empty when the call never got as far as a connection
	err = c.unary.Invoke(metadata.NewOutgoingContext(ctx, md), method, request, reply, grpc.StaticMethod(), grpc.Peer(&handedTo))
	return handedTo.Addr != nil, err
}

// add hands a call to a lane; nil: none is up.
func (c *Conn) add(call *call) (*lane, error) {
	for range c.lanes { // the next one only if the first has just gone down
		l := c.choose()
		if l == nil {
			break
		}
		if up, err := l.add(call); up {
			return l, err
		}
	}
	return nil, nil
}

// choose finds the lane with the fewest calls, among those that are up; of servers that are not ready
// only if there is no other. Equals take turns.
func (c *Conn) choose() (best *lane) {
	first := int(c.next.Add(1))
	fewest := int64(math.MaxInt64)
	for i := range c.lanes {
		l := c.lanes[(first+i)%len(c.lanes)]
		load := l.load.Load()
		if load == notUp {
			continue
		}
		if c.several && l.server.GetState() != connectivity.Ready {
			load += int64(l.options.CallsMax)
		}
		if load < fewest {
			best, fewest = l, load
		}
	}
	return best
}
