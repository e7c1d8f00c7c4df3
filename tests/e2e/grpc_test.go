//lint:file-ignore SA1019 gRPC 1.51, which the server uses, only has the v1alpha reflection

package e2e

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"ecom/tests/stack"
)

// services calls a server by what its reflection tells, with messages as JSON: as grpcurl does.
type services struct {
	connection *grpc.ClientConn
	reflection reflection.ServerReflection_ServerReflectionInfoClient
	methods    map[string]protoreflect.MethodDescriptor
}

func dialGRPC(t *testing.T, addr string) *services {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() }) // nothing is left to be sent
	stream, err := reflection.NewServerReflectionClient(connection).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &services{connection, stream, map[string]protoreflect.MethodDescriptor{}}
}

func (s *services) reflect(t *testing.T, request *reflection.ServerReflectionRequest) *reflection.ServerReflectionResponse {
	t.Helper()
	if err := s.reflection.Send(request); err != nil {
		t.Fatal(err)
	}
	response, err := s.reflection.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// list returns the names of the services.
func (s *services) list(t *testing.T) []string {
	t.Helper()
	response := s.reflect(t, &reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_ListServices{},
	})
	var names []string
	for _, service := range response.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	slices.Sort(names)
	return names
}

// fetch adds the answer's files, and everything that they import, to those in known.
func (s *services) fetch(t *testing.T, request *reflection.ServerReflectionRequest, known map[string]*descriptorpb.FileDescriptorProto) {
	t.Helper()
	// gRPC's own C++ implementation repeats all earlier files of the stream in each answer.
	for _, encoded := range s.reflect(t, request).GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(encoded, file); err != nil {
			t.Fatal(err)
		}
		known[file.GetName()] = file
	}
	for _, file := range maps.Clone(known) {
		for _, name := range file.GetDependency() {
			if known[name] == nil {
				s.fetch(t, &reflection.ServerReflectionRequest{
					MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{FileByFilename: name},
				}, known)
			}
			if known[name] == nil {
				t.Fatalf("reflection does not know %s", name)
			}
		}
	}
}

func (s *services) method(t *testing.T, name string) protoreflect.MethodDescriptor {
	t.Helper()
	name = strings.Replace(name, "/", ".", 1)
	if known := s.methods[name]; known != nil {
		return known
	}
	files := map[string]*descriptorpb.FileDescriptorProto{}
	s.fetch(t, &reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name},
	}, files)
	registry, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: slices.Collect(maps.Values(files))})
	if err != nil {
		t.Fatal(err)
	}
	descriptor, err := registry.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	s.methods[name] = descriptor.(protoreflect.MethodDescriptor)
	return s.methods[name]
}

func (s *services) try(t *testing.T, name, request string) (string, error) {
	t.Helper()
	method := s.method(t, name)
	in, out := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), answerWithin)
	defer cancel()
	if err := s.connection.Invoke(ctx, "/"+name, in, out); err != nil {
		return "", err
	}
	// protojson puts spaces in at random, to keep people from comparing; none of our values has one.
	text := strings.ReplaceAll(protojson.MarshalOptions{}.Format(out), " ", "")
	return text, nil
}

func (s *services) call(t *testing.T, name, request string) string {
	t.Helper()
	response, err := s.try(t, name, request)
	if err != nil {
		t.Fatalf("%s %s: %v", name, request, err)
	}
	return response
}

const (
	issueCoupon    = "ecom.coupon.v1.CouponService/IssueCoupon"
	getCouponIssue = "ecom.coupon.v1.CouponService/GetCouponIssue"
	getProduct     = "ecom.product.v1.ProductService/GetProduct"
	listProducts   = "ecom.product.v1.ProductService/ListProducts"
	listPopular    = "ecom.product.v1.ProductService/ListPopularProducts"
)

func TestGRPCAnswersAsTheContractSays(t *testing.T) {
	t.Parallel()
	s := stack.New(t, stack.DataDir(t))
	s.Start()
	services := dialGRPC(t, s.GRPC)

	t.Run("reflection lists every service", func(t *testing.T) {
		names := services.list(t)
		for _, want := range []string{
			"ecom.coupon.v1.CouponService", "ecom.product.v1.ProductService", "grpc.health.v1.Health",
		} {
			if !slices.Contains(names, want) {
				t.Errorf("no %s in %v", want, names)
			}
		}
	})

	t.Run("health says SERVING for the server and for each service", func(t *testing.T) {
		client := grpc_health_v1.NewHealthClient(services.connection)
		for _, name := range []string{"", "ecom.coupon.v1.CouponService", "ecom.product.v1.ProductService"} {
			response, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
			if err != nil || response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Errorf("%q: %v %v", name, response, err)
			}
		}
	})

	t.Run("a coupon is issued, replayed by its key and found", func(t *testing.T) {
		request := `{"couponId":"1","userId":"501","idempotencyKey":"k"}`
		first := services.call(t, issueCoupon, request)
		for _, part := range []string{`"userId":"501"`, `"couponId":"1"`, `"requestId":"`, `COUPON_ISSUE_STATUS_QUEUED`} {
			if !strings.Contains(first, part) {
				t.Errorf("%s lacks %s", first, part)
			}
		}
		if again := services.call(t, issueCoupon, request); again != first {
			t.Errorf("again %s, first %s", again, first)
		}
		found := ""
		if !stack.Until(5*time.Second, func() bool {
			found = services.call(t, getCouponIssue, `{"couponId":"1","userId":"501"}`)
			return strings.Contains(found, "COUPON_ISSUE_STATUS_ISSUED")
		}) || !strings.Contains(found, `"issuedAt":"`) {
			t.Errorf("found %s", found)
		}
		rest := send(t, s.HTTP, "POST", "/coupons/1/issue", "userId: 501", "Idempotency-Key: k")
		if id := first[strings.Index(first, `"requestId":"`)+13:][:36]; !strings.Contains(string(rest.Body), id) {
			t.Errorf("REST answers the same key with %s", rest.Body)
		}
	})

	t.Run("products are read and listed", func(t *testing.T) {
		product := services.call(t, getProduct, `{"productId":"100"}`)
		for _, part := range []string{`"id":"100"`, `"부하테스트상품_100"`, `"priceMinor":"2000000"`, `"createdAt":"2025-12-25T09:02:23Z"`} {
			if !strings.Contains(product, part) {
				t.Errorf("%s lacks %s", product, part)
			}
		}
		page := services.call(t, listProducts, `{"sort":"PRODUCT_SORT_PRICE","pageSize":1}`)
		_, cursor, found := strings.Cut(page, `"nextCursor":"`)
		if !found {
			t.Fatalf("no next page: %s", page)
		}
		cursor, _, _ = strings.Cut(cursor, `"`)
		next := services.call(t, listProducts, `{"sort":"PRODUCT_SORT_PRICE","pageSize":1,"cursor":"`+cursor+`"}`)
		if !strings.Contains(next, `"id":"2"`) {
			t.Errorf("the next page: %s", next)
		}
		if popular := services.call(t, listPopular, `{"pageSize":3}`); strings.Count(popular, `"priceMinor"`) != 3 {
			t.Errorf("popular: %s", popular)
		}
	})

	for _, user := range []string{"601", "602", "603", "604", "605"} { // sells coupon 2 out
		services.call(t, issueCoupon, `{"couponId":"2","userId":"`+user+`"}`)
	}
	long := strings.Repeat("k", 129)
	for _, test := range []struct {
		name, method, request string
		code                  codes.Code
		contract, reason      string
	}{
		{"sold out", issueCoupon, `{"couponId":"2","userId":"999"}`, codes.FailedPrecondition, "CP101", "COUPON_SOLD_OUT"},
		{"a holder", issueCoupon, `{"couponId":"2","userId":"601"}`, codes.AlreadyExists, "CP102", "COUPON_ALREADY_ISSUED"},
		{"no such coupon", issueCoupon, `{"couponId":"999","userId":"1"}`, codes.NotFound, "CP103", "COUPON_NOT_FOUND"},
		{"not open yet", issueCoupon, `{"couponId":"3","userId":"1"}`, codes.FailedPrecondition, "CP105", "COUPON_NOT_OPEN"},
		{"closed", issueCoupon, `{"couponId":"4","userId":"1"}`, codes.FailedPrecondition, "CP105", "COUPON_NOT_OPEN"},
		{"never asked", getCouponIssue, `{"couponId":"1","userId":"999"}`, codes.NotFound, "CP104", "COUPON_ISSUE_NOT_FOUND"},
		{"an unknown coupon", getCouponIssue, `{"couponId":"999","userId":"1"}`, codes.NotFound, "CP104", "COUPON_ISSUE_NOT_FOUND"},
		{"no such product", getProduct, `{"productId":"101"}`, codes.NotFound, "PD101", "PRODUCT_NOT_FOUND"},
		{"no user", issueCoupon, `{"couponId":"1"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a negative user", issueCoupon, `{"couponId":"1","userId":"-1"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"no coupon", issueCoupon, `{"userId":"1"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"an empty key", issueCoupon, `{"couponId":"1","userId":"1","idempotencyKey":""}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a key with a space", issueCoupon, `{"couponId":"1","userId":"1","idempotencyKey":"a b"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a key with a NUL", issueCoupon, `{"couponId":"1","userId":"1","idempotencyKey":"a\u0000"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a key that is not ASCII", issueCoupon, `{"couponId":"1","userId":"1","idempotencyKey":"열쇠"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a key that is too long", issueCoupon, `{"couponId":"1","userId":"1","idempotencyKey":"` + long + `"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a bad key before no such coupon", issueCoupon, `{"couponId":"999","userId":"1","idempotencyKey":""}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"no user to look for", getCouponIssue, `{"couponId":"1"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"no product", getProduct, `{}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a negative product", getProduct, `{"productId":"-1"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a page of none", listProducts, `{"pageSize":0}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"a page too large", listProducts, `{"pageSize":101}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"an unknown sort", listProducts, `{"sort":99}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"no category", listProducts, `{"categoryId":"0"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"an absurd cursor", listProducts, `{"cursor":"x"}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"an empty cursor", listProducts, `{"cursor":""}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
		{"too many popular ones", listPopular, `{"pageSize":101}`, codes.InvalidArgument, "CM400", "INVALID_REQUEST"},
	} {
		t.Run(test.name+" is "+test.contract, func(t *testing.T) {
			response, err := services.try(t, test.method, test.request)
			if err == nil {
				t.Fatalf("accepted: %s", response)
			}
			got, _ := status.FromError(err)
			if got.Code() != test.code {
				t.Errorf("code %v, want %v: %v", got.Code(), test.code, err)
			}
			details := got.Details()
			if len(details) != 1 {
				t.Fatalf("%d details: %v", len(details), details)
			}
			info, isInfo := details[0].(*errdetails.ErrorInfo)
			if !isInfo || info.GetReason() != test.reason || info.GetDomain() != "ecom" ||
				info.GetMetadata()["code"] != test.contract {
				t.Errorf("details %v, want %s of ecom, code %s", details[0], test.reason, test.contract)
			}
		})
	}
	t.Run("a message that is too large is refused", func(t *testing.T) {
		_, err := services.try(t, issueCoupon, `{"couponId":"1","userId":"1","idempotencyKey":"`+strings.Repeat("k", 8<<20)+`"}`)
		if err == nil {
			t.Error("accepted 8 MiB")
		}
		services.call(t, getProduct, `{"productId":"1"}`)
	})
}
