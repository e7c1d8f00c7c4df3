// Package fake is a gRPC server for the gateway's tests: it keeps the promises of the protos with a
// few coupons and products in memory, and remembers what it was sent.
package fake

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	edgev1 "ecom/gateway/gen/ecom/edge/v1"
	lanev1 "ecom/gateway/gen/ecom/lane/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
)

// RequestID is that of every claim.
const RequestID = "0b8f0f4e-6f5a-4a8e-9d7c-2f8f4d8f3c11"

// created is 18:02:23.987654 in Seoul.
var created = &timestamppb.Timestamp{Seconds: 1766653343, Nanos: 987654000}

// A Received is one call as the server saw it.
type Received struct {
	Request  proto.Message
	Metadata metadata.MD
	Deadline bool
}

// A Server is a fake; Intercept may be set before the first call.
type Server struct {
	couponv1.UnimplementedCouponServiceServer
	productv1.UnimplementedProductServiceServer
	edgev1.UnimplementedEdgeServiceServer

	Health *health.Server
	// Intercept, if set, answers calls in place of the fake when it returns an error or an answer.
	Intercept func(ctx context.Context, method string) (any, error)

	grpc *grpc.Server
	mu   sync.Mutex
	got  []Received

	shownElsewhere int64
}

// Start serves on l until the test ends or Stop is called.
func Start(t testing.TB, l net.Listener, intercept func(context.Context, string) (any, error)) *Server {
	t.Helper()
	s := &Server{Health: health.NewServer(), Intercept: intercept}
	s.grpc = grpc.NewServer(grpc.UnaryInterceptor(s.record))
	couponv1.RegisterCouponServiceServer(s.grpc, s)
	lanev1.RegisterLaneServiceServer(s.grpc, &laneService{server: s})
	productv1.RegisterProductServiceServer(s.grpc, s)
	edgev1.RegisterEdgeServiceServer(s.grpc, s)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.Health)
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(l) }()
	t.Cleanup(func() {
		s.grpc.Stop()
		if err := <-served; err != nil {
			t.Errorf("the fake server: %v", err)
		}
	})
	return s
}

// Listen opens a Unix socket.
func Listen(t testing.TB, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Stop breaks off all calls, as a crash does.
func (s *Server) Stop() { s.grpc.Stop() }

func (s *Server) record(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if info.FullMethod == grpc_health_v1.Health_Check_FullMethodName {
		return next(ctx, request)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	_, deadline := ctx.Deadline()
	s.mu.Lock()
	s.got = append(s.got, Received{request.(proto.Message), md, deadline})
	s.mu.Unlock()
	if s.Intercept != nil {
		if answer, err := s.Intercept(ctx, info.FullMethod); answer != nil || err != nil {
			return answer, err
		}
	}
	// An answer's metadata must not reach the client of the REST API.
	if err := grpc.SetHeader(ctx, metadata.Pairs("secret", "header")); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs("secret", "trailer")); err != nil {
		return nil, err
	}
	return next(ctx, request)
}

// Calls counts the calls so far, but for health checks.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// Last is the latest call.
func (s *Server) Last(t testing.TB) Received {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.got) == 0 {
		t.Fatal("the server was not called")
	}
	return s.got[len(s.got)-1]
}

// Error is a refusal as the server words it: the code in ErrorInfo, and a message to keep secret.
func Error(grpcCode codes.Code, reason, code string) error {
	s, err := status.New(grpcCode, "SELECT secret FROM host").WithDetails(&errdetails.ErrorInfo{
		Reason: reason, Domain: "ecom", Metadata: map[string]string{"code": code},
	})
	if err != nil {
		panic(err)
	}
	return s.Err()
}

// IssueCoupon accepts coupon 1, and refuses 2 (sold out), 3 (not open), 5 (already issued) and all
// others (unknown).
func (*Server) IssueCoupon(_ context.Context, r *couponv1.IssueCouponRequest) (*couponv1.IssueCouponResponse, error) {
	switch r.GetCouponId() {
	case 1:
		return &couponv1.IssueCouponResponse{
			UserId: r.GetUserId(), CouponId: r.GetCouponId(), RequestId: RequestID,
			Status: couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_QUEUED,
		}, nil
	case 2:
		return nil, Error(codes.FailedPrecondition, "COUPON_SOLD_OUT", "CP101")
	case 3:
		return nil, Error(codes.FailedPrecondition, "COUPON_NOT_OPEN", "CP105")
	case 5:
		return nil, Error(codes.AlreadyExists, "COUPON_ALREADY_ISSUED", "CP102")
	}
	return nil, Error(codes.NotFound, "COUPON_NOT_FOUND", "CP103")
}

// GetCouponIssue knows users 1 (queued), 2 (issued) and 3 (rejected) of coupon 1.
func (*Server) GetCouponIssue(_ context.Context, r *couponv1.GetCouponIssueRequest) (*couponv1.GetCouponIssueResponse, error) {
	if r.GetCouponId() != 1 || r.GetUserId() > 3 {
		return nil, Error(codes.NotFound, "COUPON_ISSUE_NOT_FOUND", "CP104")
	}
	answer := &couponv1.GetCouponIssueResponse{
		UserId: r.GetUserId(), CouponId: 1, RequestId: RequestID,
		Status: couponv1.CouponIssueStatus(r.GetUserId()),
	}
	if answer.Status == couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_ISSUED {
		answer.IssuedAt = created
	}
	return answer, nil
}

// Product is the one with this id.
func Product(id int64) *productv1.Product {
	return &productv1.Product{
		Id: id, Name: fmt.Sprintf("부하테스트상품_%d", id), PriceMinor: 1_000_000 + 10_000*id,
		StockQuantity: 1000, IsActive: true, ViewCount: 42, CreatedAt: created, UpdatedAt: created,
		CategoryId: 1 + (id-1)%5,
	}
}

// GetProduct knows 1 to 100.
func (*Server) GetProduct(_ context.Context, r *productv1.GetProductRequest) (*productv1.GetProductResponse, error) {
	if r.GetProductId() > 100 {
		return nil, Error(codes.NotFound, "PRODUCT_NOT_FOUND", "PD101")
	}
	return &productv1.GetProductResponse{Product: Product(r.GetProductId())}, nil
}

// CountViews adds up the views of all products.
func (s *Server) CountViews(_ context.Context, r *edgev1.CountViewsRequest) (*edgev1.CountViewsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, each := range r.GetProducts() {
		s.shownElsewhere += each.GetViews()
	}
	return &edgev1.CountViewsResponse{}, nil
}

// Views counts reads of single products, and those that a gateway has answered by itself.
func (s *Server) Views() (read, shownElsewhere int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, each := range s.got {
		if _, ok := each.Request.(*productv1.GetProductRequest); ok {
			read++
		}
	}
	return read, s.shownElsewhere
}

// ListProducts has two pages.
func (*Server) ListProducts(_ context.Context, r *productv1.ListProductsRequest) (*productv1.ListProductsResponse, error) {
	switch r.GetCursor() {
	case "":
		return &productv1.ListProductsResponse{Products: []*productv1.Product{Product(1), Product(2)}, NextCursor: "bmV4dA"}, nil
	case "bmV4dA":
		return &productv1.ListProductsResponse{Products: []*productv1.Product{Product(3)}}, nil
	}
	return nil, Error(codes.InvalidArgument, "INVALID_REQUEST", "CM400")
}

// ListPopularProducts has a hundred, for callers who want that many, and none for others.
func (*Server) ListPopularProducts(_ context.Context, r *productv1.ListPopularProductsRequest) (*productv1.ListPopularProductsResponse, error) {
	answer := &productv1.ListPopularProductsResponse{}
	for id := int64(1); r.GetPageSize() == 100 && id <= 100; id++ {
		answer.Products = append(answer.Products, Product(id))
	}
	return answer, nil
}
