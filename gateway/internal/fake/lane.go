package fake

import (
	"context"
	"sync"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	edgev1 "ecom/gateway/gen/ecom/edge/v1"
	lanev1 "ecom/gateway/gen/ecom/lane/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
)

// A laneService calls the same methods as the unary services do, one goroutine a call.
type laneService struct {
	lanev1.UnimplementedLaneServiceServer
	server *Server
}

// An openLane is one stream.
type openLane struct {
	server  *Server
	stream  grpc.BidiStreamingServer[lanev1.OpenRequest, lanev1.OpenResponse]
	methods []string

	mu     sync.Mutex // also of sending
	cancel map[uint64]context.CancelFunc
}

func (s *laneService) Open(stream grpc.BidiStreamingServer[lanev1.OpenRequest, lanev1.OpenResponse]) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	l := &openLane{server: s.server, stream: stream, cancel: map[uint64]context.CancelFunc{}}
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		frame, err := stream.Recv()
		if err != nil {
			return nil // closed, or broken: then nobody reads what we say
		}
		l.methods = append(l.methods, frame.GetMethods()...)
		for _, call := range frame.GetCalls() {
			ctx := l.begin(call)
			name := ""
			if place := int(call.GetMethod()); place < len(l.methods) {
				name = l.methods[place]
			}
			calls.Go(func() { l.answer(call.GetId(), l.call(ctx, name, call)) })
		}
		l.mu.Lock()
		for _, id := range frame.GetCancelledIds() {
			if cancel := l.cancel[id]; cancel != nil {
				cancel()
			}
		}
		l.mu.Unlock()
	}
}

func (l *openLane) begin(call *lanev1.Call) context.Context {
	ctx, cancel := context.WithCancel(l.stream.Context())
	if call.GetTimeoutUs() > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(call.GetTimeoutUs())*time.Microsecond)
	}
	md := metadata.MD{}
	for name, value := range map[string]string{"x-request-id": call.GetRequestId(), "traceparent": call.GetTraceParent()} {
		if value != "" {
			md.Set(name, value)
		}
	}
	l.mu.Lock()
	l.cancel[call.GetId()] = cancel
	l.mu.Unlock()
	return grpc.NewContextWithServerTransportStream(metadata.NewIncomingContext(ctx, md), nowhere{})
}

func (l *openLane) call(ctx context.Context, name string, call *lanev1.Call) *lanev1.Answer {
	for _, service := range []grpc.ServiceDesc{couponv1.CouponService_ServiceDesc, productv1.ProductService_ServiceDesc, edgev1.EdgeService_ServiceDesc} {
		for _, method := range service.Methods {
			if name != "/"+service.ServiceName+"/"+method.MethodName {
				continue
			}
			decode := func(request any) error { return proto.Unmarshal(call.GetPayload(), request.(proto.Message)) }
			reply, err := method.Handler(l.server, ctx, decode, l.server.record)
			if err != nil {
				return &lanev1.Answer{Result: failed(err)}
			}
			payload, err := proto.Marshal(reply.(proto.Message))
			if err != nil {
				return &lanev1.Answer{Result: failed(err)}
			}
			return &lanev1.Answer{Result: &lanev1.Answer_Payload{Payload: payload}}
		}
	}
	return &lanev1.Answer{Result: failed(status.Error(codes.Unimplemented, "no such method"))}
}

// failed words an error as gRPC does for a unary call.
func failed(err error) *lanev1.Answer_Status {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	return &lanev1.Answer_Status{Status: proto.CloneOf[*spb.Status](s.Proto())}
}

func (l *openLane) answer(id uint64, answer *lanev1.Answer) {
	answer.Id = id
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel[id]()
	delete(l.cancel, id)
	_ = l.stream.Send(&lanev1.OpenResponse{Answers: []*lanev1.Answer{answer}}) // broken: the client knows
}

// Nowhere is where the metadata of answers goes.
type nowhere struct{}

func (nowhere) Method() string               { return "" }
func (nowhere) SetHeader(metadata.MD) error  { return nil }
func (nowhere) SendHeader(metadata.MD) error { return nil }
func (nowhere) SetTrailer(metadata.MD) error { return nil }
