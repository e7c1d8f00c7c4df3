package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/lane"
)

func withInfo(t *testing.T, code codes.Code, domain, contractCode string) error {
	t.Helper()
	s, err := status.New(code, "secret").WithDetails(&errdetails.ErrorInfo{
		Reason: "REASON", Domain: domain, Metadata: map[string]string{"code": contractCode, "request_id": "secret"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

// connFunc is a server without a network.
type connFunc func(ctx context.Context, method string, request, reply any) error

func (f connFunc) Call(ctx context.Context, _ lane.Terms, method string, request, reply proto.Message) (begun bool, err error) {
	return false, f(ctx, method, request, reply)
}

type ignored struct{}

func (ignored) Begin()                                 {}
func (ignored) End(string, string, int, time.Duration) {}

func newHandler(t testing.TB, server Server, log *slog.Logger) *Handler {
	t.Helper()
	h, err := New(Options{
		Zone: time.UTC, UpstreamTimeout: time.Minute, InFlightMax: 10, BodyBytesMax: 10, Observe: ignored{}, Log: log,
	}, server)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAnAnswerThatCannotBeWrittenIsNotToBeKept(t *testing.T) {
	noTimes := connFunc(func(_ context.Context, _ string, _, reply any) error {
		reply.(*productv1.GetProductResponse).Product = &productv1.Product{Id: 1}
		return nil
	})
	w := httptest.NewRecorder()
	newHandler(t, noTimes, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/products/1", nil))
	if w.Code != 500 || w.Header().Get("ETag") != "" || w.Header().Get("Cache-Control") != "" {
		t.Errorf("got %d, %v", w.Code, w.Header())
	}
}

func TestEveryErrorOfTheServerHasItsAnswer(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		text   string
		retry  string
	}{
		{withInfo(t, codes.FailedPrecondition, "ecom", "CP101"), 400, "CP101", "쿠폰 수량이 소진되었습니다.", ""},
		{withInfo(t, codes.AlreadyExists, "ecom", "CP102"), 409, "CP102", "이미 발급된 쿠폰입니다.", ""},
		{withInfo(t, codes.NotFound, "ecom", "CP103"), 404, "CP103", "존재하지 않는 쿠폰입니다.", ""},
		{withInfo(t, codes.NotFound, "ecom", "CP104"), 404, "CP104", "쿠폰 발급 요청을 찾을 수 없습니다.", ""},
		{withInfo(t, codes.FailedPrecondition, "ecom", "CP105"), 400, "CP105", "쿠폰 발급 기간이 아닙니다.", ""},
		{withInfo(t, codes.NotFound, "ecom", "PD101"), 404, "PD101", "상품을 찾을 수 없습니다.", ""},
		{withInfo(t, codes.InvalidArgument, "ecom", "CM400"), 400, "CM400", "잘못된 요청입니다.", ""},
		{withInfo(t, codes.Unauthenticated, "ecom", "CM401"), 401, "CM401", "인증이 필요합니다.", ""},
		{withInfo(t, codes.PermissionDenied, "ecom", "CM403"), 403, "CM403", "접근 권한이 없습니다.", ""},
		{withInfo(t, codes.ResourceExhausted, "ecom", "CM429"), 429, "CM429", "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요.", "1"},
		{withInfo(t, codes.Unavailable, "ecom", "CM503"), 503, "CM503", "일시적으로 서비스를 이용할 수 없습니다.", "1"},
		{withInfo(t, codes.DeadlineExceeded, "ecom", "CM504"), 504, "CM504", "요청 시간이 초과되었습니다.", ""},
		{withInfo(t, codes.Internal, "ecom", "CM500"), 500, "CM500", "서버 오류가 발생했습니다.", ""},
		// The contract's code wins over gRPC's.
		{withInfo(t, codes.Unknown, "ecom", "CP101"), 400, "CP101", "쿠폰 수량이 소진되었습니다.", ""},
		// Without a code of ours, gRPC's.
		{withInfo(t, codes.Unavailable, "other.example", "CP101"), 503, "CM503", "일시적으로 서비스를 이용할 수 없습니다.", "1"},
		{withInfo(t, codes.InvalidArgument, "ecom", "XX999"), 400, "CM400", "잘못된 요청입니다.", ""},
		{withInfo(t, codes.NotFound, "ecom", "CM404"), 500, "CM500", "서버 오류가 발생했습니다.", ""},
		{status.Error(codes.InvalidArgument, "secret"), 400, "CM400", "잘못된 요청입니다.", ""},
		{status.Error(codes.OutOfRange, "secret"), 400, "CM400", "잘못된 요청입니다.", ""},
		{status.Error(codes.Unauthenticated, "secret"), 401, "CM401", "인증이 필요합니다.", ""},
		{status.Error(codes.PermissionDenied, "secret"), 403, "CM403", "접근 권한이 없습니다.", ""},
		{status.Error(codes.ResourceExhausted, "secret"), 429, "CM429", "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요.", "1"},
		{status.Error(codes.Unavailable, "secret"), 503, "CM503", "일시적으로 서비스를 이용할 수 없습니다.", "1"},
		{status.Error(codes.DeadlineExceeded, "secret"), 504, "CM504", "요청 시간이 초과되었습니다.", ""},
		{status.Error(codes.Canceled, "secret"), 504, "CM504", "요청 시간이 초과되었습니다.", ""},
		{status.Error(codes.Unimplemented, "secret"), 500, "CM500", "서버 오류가 발생했습니다.", ""},
		{status.Error(codes.NotFound, "secret"), 500, "CM500", "서버 오류가 발생했습니다.", ""},
		{status.Error(codes.DataLoss, "secret"), 500, "CM500", "서버 오류가 발생했습니다.", ""},
		{status.Error(codes.Unknown, "secret"), 500, "CM500", "서버 오류가 발생했습니다.", ""},
		{errors.New("secret"), 500, "CM500", "서버 오류가 발생했습니다.", ""},
	} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			h := newHandler(t, connFunc(func(context.Context, string, any, any) error { return c.err }), slog.New(slog.DiscardHandler))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/products/1", nil))
			want := fmt.Sprintf(`{"code":"%s","message":"%s"}`, c.code, c.text)
			if w.Code != c.status || w.Body.String() != want || w.Header().Get("Retry-After") != c.retry {
				t.Errorf("got %d %s, Retry-After: %q", w.Code, w.Body, w.Header().Get("Retry-After"))
			}
		})
	}
}

func TestAPanicAndAnImpossibleAnswerAre500AndLogged(t *testing.T) {
	for name, server := range map[string]connFunc{
		"panic":             func(context.Context, string, any, any) error { panic("secret") },
		"impossible answer": func(context.Context, string, any, any) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			var logged strings.Builder
			h := newHandler(t, server, slog.New(slog.NewTextHandler(&logged, nil)))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/products/1", nil))
			if w.Code != 500 || w.Body.String() != `{"code":"CM500","message":"서버 오류가 발생했습니다."}` {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if !strings.Contains(logged.String(), "level=ERROR") || !strings.Contains(logged.String(), w.Header().Get("X-Request-Id")) {
				t.Errorf("logged %q", logged.String())
			}
		})
	}
}

func TestRoutesThatDisagreeAreLoggedWithTheRequest(t *testing.T) {
	var logged strings.Builder
	h := newHandler(t, connFunc(nil), slog.New(slog.NewTextHandler(&logged, nil)))
	w := httptest.NewRecorder()
	c := &call{Context: context.Background(), requestID: "7"}
	h.writeRoutingError(c, nil, nil, w, httptest.NewRequest("GET", "/products/1", nil), 404)
	if w.Code != 500 || !strings.Contains(logged.String(), "request_id=7") {
		t.Errorf("got %d, logged %q", w.Code, logged.String())
	}
}

func TestOurRoutesAndTheGeneratedOnesAgree(t *testing.T) {
	want := map[string]string{
		"POST /coupons/1/issue": couponv1.CouponService_IssueCoupon_FullMethodName,
		"GET /coupons/1/issue":  couponv1.CouponService_GetCouponIssue_FullMethodName,
		"GET /products/1":       productv1.ProductService_GetProduct_FullMethodName,
		"GET /products":         productv1.ProductService_ListProducts_FullMethodName,
		"GET /products/popular": productv1.ProductService_ListPopularProducts_FullMethodName,
	}
	got := map[string]string{}
	var asked string
	h := newHandler(t, connFunc(func(_ context.Context, method string, _, _ any) error {
		asked = method
		return status.Error(codes.Unavailable, "")
	}), slog.New(slog.DiscardHandler))
	for line := range want {
		method, path, _ := strings.Cut(line, " ")
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("userId", "1")
		asked = ""
		h.ServeHTTP(httptest.NewRecorder(), r)
		got[line] = asked
	}
	for line := range want {
		if got[line] != want[line] {
			t.Errorf("%s: asked %q, want %q", line, got[line], want[line])
		}
	}
	services := len(couponv1.CouponService_ServiceDesc.Methods) + len(productv1.ProductService_ServiceDesc.Methods)
	if services != len(want) {
		t.Errorf("the protos have %d methods, this test knows %d", services, len(want))
	}
}

// discard is a writer that costs nothing to measure.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func BenchmarkHandler(b *testing.B) {
	h := newHandler(b, connFunc(func(_ context.Context, _ string, request, reply any) error {
		*reply.(*couponv1.IssueCouponResponse) = couponv1.IssueCouponResponse{
			UserId: request.(*couponv1.IssueCouponRequest).GetUserId(), CouponId: 1,
			RequestId: "0b8f0f4e-6f5a-4a8e-9d7c-2f8f4d8f3c11", Status: couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_QUEUED,
		}
		return nil
	}), slog.New(slog.DiscardHandler))
	r := httptest.NewRequest("POST", "/coupons/1/issue", nil)
	r.Header.Set("userId", "12345")
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}
