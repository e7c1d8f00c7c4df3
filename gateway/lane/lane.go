package lane

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	lanev1 "ecom/gateway/gen/ecom/lane/v1"
)

const (
	// As for the connection itself: callers wait for nothing of ours.
	firstRetry, slowestRetry = 20 * time.Millisecond, 500 * time.Millisecond
	// A lane that was up for so long is opened again without growing patience.
	settled = 5 * time.Second
)

var (
	errFull   = status.Error(codes.Unavailable, "too many calls are under way")
	errUnsent = status.Error(codes.Unavailable, "the lane broke before the call was sent")
	errUnread = status.Error(codes.Unavailable, "the server stopped before it read the call")
	errBroken = status.Error(codes.Unavailable, "the lane broke")
)

// A lane is one stream at a time: opened, used until it breaks, opened again.
type lane struct {
	server  Server
	options Options
	wake    chan struct{} // there is something to send
	closing chan struct{}

	load atomic.Int64 // calls that wait or are under way, or notUp; written by noteLoad

	mu        sync.Mutex
	up        bool
	closed    bool
	waiting   []*call          // to be sent
	underWay  map[uint64]*call // sent, and not answered
	cancelled []uint64         // to be sent
	lastID    uint64
}

// notUp is the load of a lane that takes no calls.
const notUp = -1

func newLane(server Server, options Options) *lane {
	l := &lane{
		server: server, options: options,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), underWay: map[uint64]*call{},
	}
	l.load.Store(notUp)
	return l
}

// noteLoad is called under the lock, after each change.
func (l *lane) noteLoad() {
	load := int64(notUp)
	if l.up {
		load = int64(len(l.waiting) + len(l.underWay))
	}
	l.load.Store(load)
}

// run keeps the lane open until it is closed, or ctx is done.
func (l *lane) run(ctx context.Context) {
	wait := firstRetry
	logged := false // so that a server without lanes is logged once
	for ctx.Err() == nil && !l.isClosed() {
		opened := time.Now()
		wasUp, err := l.serve(ctx)
		if time.Since(opened) > settled {
			wait = firstRetry
		}
		if (wasUp || !logged) && !l.isClosed() {
			l.options.Log.Warn("a lane ended; opening it again", "error", err)
			logged = !wasUp
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-l.closing:
		case <-ctx.Done():
		}
		wait = min(2*wait, slowestRetry)
	}
}

// serve opens a stream and carries calls until it ends; it says why.
func (l *lane) serve(ctx context.Context) (wasUp bool, why error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := lanev1.NewLaneServiceClient(l.server).Open(ctx, grpc.WaitForReady(true))
	if err != nil {
		return false, err
	}
	header, _ := stream.Header() // an error is Recv's to tell
	if header == nil {
		_, err := stream.Recv()
		return false, err
	}
	if !l.goUp() {
		return false, stream.CloseSend()
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		if err := l.write(stream); err != nil {
			cancel() // so that the reader ends, too
		}
	})
	err = l.read(stream)
	cancel()
	writer.Wait()
	l.goDown(errors.Is(err, io.EOF))
	return true, err
}

// write sends all that waits whenever something does, until the lane closes or breaks.
func (l *lane) write(stream grpc.ClientStream) error {
	frame := newFrame()
	for {
		closing := false
		select {
		case <-l.wake:
		case <-l.closing:
			closing = true
		case <-stream.Context().Done():
			return nil
		}
		runtime.Gosched() // those who are about to call get into this frame; alone, it costs nothing
		for l.take(frame) {
			if err := stream.SendMsg(frame); err != nil {
				return err
			}
			frame.Methods = nil // known from now on
		}
		if closing {
			return stream.CloseSend()
		}
	}
}

// take fills the frame with what waits, up to its bound; false: nothing does.
func (l *lane) take(frame *lanev1.OpenRequest) bool {
	clear(frame.Calls)
	frame.Calls = frame.Calls[:0]
	now := time.Now()
	l.mu.Lock()
	frame.CancelledIds = append(frame.CancelledIds[:0], l.cancelled...)
	l.cancelled = l.cancelled[:0]
	taken, bytes := 0, 0
	for _, c := range l.waiting {
		if bytes += c.frameBytes(); bytes > l.options.FrameBytesMax && taken > 0 {
			break
		}
		l.lastID++
		c.message.Id = l.lastID
		c.setTimeout(now)
		c.sent = true
		l.underWay[l.lastID] = c
		frame.Calls = append(frame.Calls, &c.message)
		taken++
	}
	left := copy(l.waiting, l.waiting[taken:])
	clear(l.waiting[left:])
	l.waiting = l.waiting[:left]
	l.mu.Unlock()
	if taken > 0 {
		l.options.Observe.LaneSent(taken)
	}
	return taken > 0 || len(frame.CancelledIds) > 0
}

// read hands answers to those who wait for them, until the stream ends; it says why.
func (l *lane) read(stream grpc.ClientStream) error {
	var frame lanev1.OpenResponse
	var answered []*call
	for {
		if err := stream.RecvMsg(&frame); err != nil {
			return err
		}
		answers := frame.GetAnswers()
		l.options.Observe.LaneReceived(len(answers))
		answered = answered[:0]
		l.mu.Lock()
		for _, answer := range answers {
			c := l.underWay[answer.GetId()] // none: its caller has left
			delete(l.underWay, answer.GetId())
			answered = append(answered, c)
		}
		l.noteLoad()
		l.mu.Unlock()
		for i, c := range answered {
			if c != nil {
				c.succeed(answers[i])
			}
		}
		clear(answered)
	}
}

// add lets the call wait to be sent. Not up: the lane did not take it.
func (l *lane) add(c *call) (up bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return false, nil
	}
	if len(l.waiting)+len(l.underWay) >= l.options.CallsMax {
		return true, errFull
	}
	l.waiting = append(l.waiting, c)
	l.noteLoad()
	l.wakeWriter()
	return true, nil
}

func (l *lane) wakeWriter() {
	select {
	case l.wake <- struct{}{}:
	default: // it is about to look
	}
}

// await waits for the answer of a call that was added.
func (l *lane) await(ctx context.Context, c *call, timeout time.Duration, reply proto.Message) (begun bool, err error) {
	c.timer.Reset(timeout)
	defer c.timer.Stop()
	var gaveUp error
	select {
	case <-c.done:
	case <-ctx.Done():
		gaveUp = ctx.Err()
	case <-c.timer.C:
		gaveUp = context.DeadlineExceeded
	}
	if gaveUp != nil {
		if sent, abandoned := l.abandon(c); abandoned {
			return sent, status.FromContextError(gaveUp).Err()
		}
		<-c.done // it ended in this very moment
	}
	begun, err = c.begun, c.result(reply)
	if c.answer != nil {
		c.putBack()
	}
	return begun, err
}

// abandon gives a call up, so that nobody will end it any more. Not abandoned: it was ended.
func (l *lane) abandon(c *call) (sent, abandoned bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.noteLoad()
	if c.sent {
		if l.underWay[c.message.GetId()] != c {
			return true, false
		}
		delete(l.underWay, c.message.GetId())
		l.cancelled = append(l.cancelled, c.message.GetId())
		l.wakeWriter()
		return true, true
	}
	for i, waiting := range l.waiting {
		if waiting == c {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return false, true
		}
	}
	return false, false
}

func (l *lane) goUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.up = true
	l.noteLoad()
	l.options.Observe.LaneUp()
	return true
}

// goDown ends all calls. After a clean end the server has answered whatever it had begun.
func (l *lane) goDown(clean bool) {
	l.mu.Lock()
	l.up = false
	waiting, underWay := l.waiting, l.underWay
	l.waiting, l.underWay, l.cancelled = nil, map[uint64]*call{}, nil
	l.noteLoad()
	l.mu.Unlock()
	l.options.Observe.LaneDown()
	for _, c := range waiting {
		c.fail(errUnsent, false)
	}
	for _, c := range underWay {
		if clean {
			c.fail(errUnread, false)
		} else {
			c.fail(errBroken, true)
		}
	}
}

// close lets nothing more in, and ends the stream once all that waits was sent.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.up = false
		l.noteLoad()
		close(l.closing)
	}
}

func (l *lane) isUp() bool { return l.load.Load() != notUp }

func (l *lane) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *lane) waitingCalls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// newFrame is the first one of a stream: it says which methods the calls are of.
func newFrame() *lanev1.OpenRequest { return &lanev1.OpenRequest{Methods: methods} }
