package lane

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	lanev1 "ecom/gateway/gen/ecom/lane/v1"
)

// A call is one unary call on its way. It is used again only after its answer came: until then the
// lane's goroutines may look at it.
type call struct {
	message  lanev1.Call
	payload  []byte // message's, kept for its room
	deadline time.Time

	sent bool // guarded by the lane's mutex

	// The result, written before done is signalled.
	answer *lanev1.Answer
	err    error
	begun  bool // the server has, or may have, begun it
	done   chan struct{}
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func takeCall() *call { return calls.Get().(*call) }

func (c *call) putBack() {
	c.answer, c.err, c.begun, c.sent = nil, nil, false, false
	calls.Put(c)
}

// fill takes over what the caller sends; false: it is not fit for a lane.
func (c *call) fill(ctx context.Context, method uint32, request proto.Message) (fits bool, err error) {
	c.message.Method = method
	if !c.fillMetadata(ctx) {
		return false, nil
	}
	c.deadline, _ = ctx.Deadline()
	if c.payload, err = (proto.MarshalOptions{}).MarshalAppend(c.payload[:0], request); err != nil {
		return false, err
	}
	c.message.Payload = c.payload
	return len(c.payload) <= callBytesMax, nil
}

func (c *call) fillMetadata(ctx context.Context) bool {
	c.message.RequestId, c.message.TraceParent = "", ""
	md, _ := metadata.FromOutgoingContext(ctx)
	for name, values := range md {
		if len(values) != 1 || len(values[0]) > callBytesMax {
			return false
		}
		switch name {
		case "x-request-id":
			c.message.RequestId = values[0]
		case "traceparent":
			c.message.TraceParent = values[0]
		default:
			return false
		}
	}
	return true
}

// frameBytes is what the call takes of a frame, at most.
func (c *call) frameBytes() int {
	const numbersAndTags = 48
	return numbersAndTags + len(c.payload) + len(c.message.RequestId) + len(c.message.TraceParent)
}

// setTimeout says how long the caller still waits.
func (c *call) setTimeout(now time.Time) {
	c.message.TimeoutUs = 0
	if !c.deadline.IsZero() {
		c.message.TimeoutUs = max(c.deadline.Sub(now).Microseconds(), 1)
	}
}

func (c *call) succeed(answer *lanev1.Answer) {
	c.answer, c.begun = answer, true
	c.done <- struct{}{}
}

func (c *call) fail(err error, begun bool) {
	c.err, c.begun = err, begun
	c.done <- struct{}{}
}

// result decodes what came back.
func (c *call) result(reply proto.Message) error {
	if c.err != nil {
		return c.err
	}
	switch result := c.answer.GetResult().(type) {
	case *lanev1.Answer_Payload:
		if err := proto.Unmarshal(result.Payload, reply); err != nil {
			return status.Errorf(codes.Internal, "decoding the answer: %v", err)
		}
		return nil
	case *lanev1.Answer_Status:
		if s := status.FromProto(result.Status); s.Code() != codes.OK {
			return s.Err()
		}
	}
	return status.Error(codes.Internal, "an answer without a result")
}
