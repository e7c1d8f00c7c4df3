package lane

import (
	"sync"
	"time"

	"google.golang.org/grpc/codes"
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
	timer    *time.Timer // its caller's alone; runs while that waits

	sent bool // guarded by the lane's mutex

	// The result, written before done is signalled.
	answer *lanev1.Answer
	err    error
	begun  bool // the server has, or may have, begun it
	done   chan struct{}
}

var calls = sync.Pool{New: func() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &call{timer: timer, done: make(chan struct{}, 1)}
}}

func takeCall() *call { return calls.Get().(*call) }

func (c *call) putBack() {
	c.answer, c.err, c.begun, c.sent = nil, nil, false, false
	calls.Put(c)
}

// fill takes over what the caller sends; false: it is too large for a lane.
func (c *call) fill(terms Terms, method uint32, request proto.Message) (fits bool, err error) {
	c.message.Method = method
	c.message.RequestId, c.message.TraceParent = terms.RequestID, terms.TraceParent
	c.deadline = time.Now().Add(terms.Timeout)
	if c.payload, err = (proto.MarshalOptions{}).MarshalAppend(c.payload[:0], request); err != nil {
		return false, err
	}
	c.message.Payload = c.payload
	return c.frameBytes() <= callBytesMax, nil
}

// frameBytes is what the call takes of a frame, at most.
func (c *call) frameBytes() int {
	const numbersAndTags = 48
	return numbersAndTags + len(c.payload) + len(c.message.RequestId) + len(c.message.TraceParent)
}

// setTimeout says how long the caller still waits.
func (c *call) setTimeout(now time.Time) {
	c.message.TimeoutUs = max(c.deadline.Sub(now).Microseconds(), 1)
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
