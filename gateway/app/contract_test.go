package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"ecom/gateway/config"
	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/internal/fake"
	"ecom/gateway/internal/wait"
	"ecom/gateway/obs"
)

// patience bounds every wait in these tests: far above what any takes.
const patience = 20 * time.Second

// lanes is how the gateways of these tests reach their server.
var lanes int

// TestMain runs every test twice: what is promised must not depend on how calls travel.
func TestMain(m *testing.M) {
	for _, lanes = range []int{0, 2} {
		fmt.Printf("ECOM_LANES=%d\n", lanes)
		if code := m.Run(); code != 0 {
			os.Exit(code)
		}
	}
}

type running struct {
	*Gateway
	stop    context.CancelFunc
	stopped chan error
}

// start runs a gateway on free ports until the test ends.
func start(t testing.TB, target string, change func(*config.Config)) *running {
	t.Helper()
	c, err := config.Load([]string{
		"--http-addr=127.0.0.1:0", "--gateway-admin-addr=127.0.0.1:0", "--server-target=" + target,
		"--drain-grace=100ms", fmt.Sprint("--lanes=", lanes), "--product-copy-age-max=0s",
	}, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&c)
	}
	g, err := New(c, obs.NewBuild("1.2.3", "abcdef", "0123456789ab"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{g, stop, make(chan error, 1)}
	go func() { r.stopped <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-r.stopped:
		case <-time.After(patience):
			t.Error("the gateway did not stop")
		}
	})
	return r
}

// startBoth runs a fake server and a gateway that is connected to it.
func startBoth(t testing.TB, intercept func(context.Context, string) (any, error), change func(*config.Config)) (*running, *fake.Server) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "server.sock")
	server := fake.Start(t, fake.Listen(t, socket), intercept)
	g := start(t, "unix:"+socket, change)
	waitUntilReady(t, g)
	return g, server
}

func waitUntilReady(t testing.TB, g *running) {
	t.Helper()
	wait.Until(t, "the gateway to be ready", func() bool {
		status, _ := get(t, "http://"+g.AdminAddr()+"/health/ready")
		return status == http.StatusOK && g.lanes.Up() == lanes*len(g.config.ServerTargets)
	})
}

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// send writes raw bytes on a connection of its own and reads one answer to method.
func send(t testing.TB, address, method, raw string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() { // an answer may come before all is sent, and end the sending
		_, _ = io.WriteString(c, raw)
		close(written)
	}()
	answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("half an answer: %v", err)
	}
	c.Close()
	<-written
	return answer, string(body)
}

// request words a request: method, target, then headers of the form "name: value".
func request(method, target string, headers ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: shop\r\n%s\r\n", method, target, strings.Join(append(headers, ""), "\r\n"))
}

const (
	cm400 = `{"code":"CM400","message":"잘못된 요청입니다."}`
	cm404 = `{"code":"CM404","message":"요청하신 경로를 찾을 수 없습니다."}`
	cm405 = `{"code":"CM405","message":"허용되지 않은 메서드입니다."}`
	cm413 = `{"code":"CM413","message":"요청 본문이 너무 큽니다."}`
	cm431 = `{"code":"CM431","message":"요청 헤더가 너무 큽니다."}`
	cm500 = `{"code":"CM500","message":"서버 오류가 발생했습니다."}`
	cm503 = `{"code":"CM503","message":"일시적으로 서비스를 이용할 수 없습니다."}`
	cm504 = `{"code":"CM504","message":"요청 시간이 초과되었습니다."}`

	product1 = `{"id":1,"name":"부하테스트상품_1","price":10100.00,"stockQuantity":1000,"isActive":true,"viewCount":42,"createdAt":"2025-12-25T18:02:23","updatedAt":"2025-12-25T18:02:23"}`
	product2 = `{"id":2,"name":"부하테스트상품_2","price":10200.00,"stockQuantity":1000,"isActive":true,"viewCount":42,"createdAt":"2025-12-25T18:02:23","updatedAt":"2025-12-25T18:02:23"}`
	product3 = `{"id":3,"name":"부하테스트상품_3","price":10300.00,"stockQuantity":1000,"isActive":true,"viewCount":42,"createdAt":"2025-12-25T18:02:23","updatedAt":"2025-12-25T18:02:23"}`
	queued   = `{"userId":12345,"couponId":1,"requestId":"` + fake.RequestID + `","status":"QUEUED","message":"쿠폰 발급 요청이 접수되었습니다."}`
)

func TestAnswersAreTheContractsToTheByte(t *testing.T) {
	g, _ := startBoth(t, nil, nil)
	var hundred []string
	for id := range 100 {
		price := fmt.Sprintf(`"price":%d.00`, 10000+100*(id+1))
		numbered := strings.NewReplacer(`"id":1`, fmt.Sprintf(`"id":%d`, id+1), "_1", fmt.Sprintf("_%d", id+1), `"price":10100.00`, price)
		hundred = append(hundred, numbered.Replace(product1))
	}
	for _, c := range []struct {
		name, request string
		status        int
		body          string
	}{
		{"a claim is queued", request("POST", "/coupons/1/issue", "userId: 12345"), 200, queued},
		{"a claim with a key", request("POST", "/coupons/1/issue", "userId: 12345", "Idempotency-Key: k-1"), 200, queued},
		{"the largest ids", request("POST", "/coupons/9223372036854775807/issue", "userId: 9223372036854775807"), 404, `{"code":"CP103","message":"존재하지 않는 쿠폰입니다."}`},
		{"sold out", request("POST", "/coupons/2/issue", "userId: 1"), 400, `{"code":"CP101","message":"쿠폰 수량이 소진되었습니다."}`},
		{"not open", request("POST", "/coupons/3/issue", "userId: 1"), 400, `{"code":"CP105","message":"쿠폰 발급 기간이 아닙니다."}`},
		{"already issued", request("POST", "/coupons/5/issue", "userId: 1"), 409, `{"code":"CP102","message":"이미 발급된 쿠폰입니다."}`},
		{"no such coupon", request("POST", "/coupons/999999/issue", "userId: 1"), 404, `{"code":"CP103","message":"존재하지 않는 쿠폰입니다."}`},

		{"still queued", request("GET", "/coupons/1/issue", "userId: 1"), 200, `{"userId":1,"couponId":1,"requestId":"` + fake.RequestID + `","status":"QUEUED"}`},
		{"issued", request("GET", "/coupons/1/issue", "userId: 2"), 200, `{"userId":2,"couponId":1,"requestId":"` + fake.RequestID + `","status":"ISSUED","issuedAt":"2025-12-25T18:02:23"}`},
		{"rejected", request("GET", "/coupons/1/issue", "userId: 3"), 200, `{"userId":3,"couponId":1,"requestId":"` + fake.RequestID + `","status":"REJECTED"}`},
		{"never asked", request("GET", "/coupons/1/issue", "userId: 4"), 404, `{"code":"CP104","message":"쿠폰 발급 요청을 찾을 수 없습니다."}`},

		{"a product", request("GET", "/products/1"), 200, product1},
		{"no such product", request("GET", "/products/101"), 404, `{"code":"PD101","message":"상품을 찾을 수 없습니다."}`},
		{"a page", request("GET", "/products?sort=price&size=2"), 200, `{"items":[` + product1 + `,` + product2 + `],"nextCursor":"bmV4dA"}`},
		{"the last page", request("GET", "/products?cursor=bmV4dA"), 200, `{"items":[` + product3 + `]}`},
		{"a cursor that is none of ours", request("GET", "/products?cursor=absurd"), 400, cm400},
		{"popular, none", request("GET", "/products/popular?size=5"), 200, `{"items":[]}`},
		{"popular, a hundred", request("GET", "/products/popular?size=100"), 200, `{"items":[` + strings.Join(hundred, ",") + `]}`},
		{"an address with scheme and host", request("GET", "http://shop/products/1"), 200, product1},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := send(t, g.HTTPAddr(), "", c.request)
			if answer.StatusCode != c.status || body != c.body {
				t.Errorf("got %d %s\nwant %d %s", answer.StatusCode, body, c.status, c.body)
			}
			checkHeaders(t, answer, len(c.body))
		})
	}
}

// checkHeaders sees to it that an answer says what it must, and nothing else.
func checkHeaders(t *testing.T, answer *http.Response, length int) {
	t.Helper()
	if got := answer.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %q", got)
	}
	if got := answer.ContentLength; got != int64(length) {
		t.Errorf("Content-Length: %d, want %d", got, length)
	}
	if got := answer.Header.Get("X-Request-Id"); len(got) != 32 {
		t.Errorf("X-Request-Id: %q", got)
	}
	allowed := []string{"Allow", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Etag", "Retry-After", "X-Request-Id"}
	for _, name := range slices.Sorted(maps.Keys(answer.Header)) {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s: %q was sent", name, answer.Header[name])
		}
	}
}

func TestBadInputIsRefusedBeforeTheServerIsAsked(t *testing.T) {
	g, server := startBoth(t, nil, nil)
	user := "userId: 7"
	key := func(v string) string { return request("POST", "/coupons/1/issue", user, "Idempotency-Key: "+v) }
	header := func(v string) string { return request("POST", "/coupons/1/issue", "userId: "+v) }
	type refusal struct {
		name, request string
		status        int
		body          string
	}
	cases := []refusal{
		{"no such route", request("GET", "/nope"), 404, cm404},
		{"the root", request("GET", "/"), 404, cm404},
		{"a star", request("OPTIONS", "*"), 404, cm404},
		{"a trailing slash", request("GET", "/products/1/"), 404, cm404},
		{"a list with a trailing slash", request("GET", "/products/"), 404, cm404},
		{"an empty first segment", request("GET", "//products"), 404, cm404},
		{"an empty id", request("GET", "/coupons//issue", user), 404, cm404},
		{"dots", request("GET", "/products/../products/1"), 404, cm404},
		{"an escaped letter", request("GET", "/product%73/1"), 404, cm404},
		{"an escaped slash", request("GET", "/products%2F1"), 404, cm404},
		{"another case", request("GET", "/Products/1"), 404, cm404},
		{"a coupon alone", request("GET", "/coupons/1", user), 404, cm404},
		{"a longer path", request("GET", "/coupons/1/issue/2", user), 404, cm404},
		{"a path of gRPC", request("POST", "/ecom.coupon.v1.CouponService/IssueCoupon", user), 404, cm404},
		{"route before method", request("DELETE", "/nope"), 404, cm404},

		{"a missing user", request("POST", "/coupons/1/issue"), 400, cm400},
		{"a missing user, asking", request("GET", "/coupons/1/issue"), 400, cm400},
		{"two users", request("POST", "/coupons/1/issue", "userId: 1", "userId: 2"), 400, cm400},
		{"the same user twice", request("POST", "/coupons/1/issue", "userId: 1", "USERID: 1"), 400, cm400},
		{"two users in a line", header("1, 2"), 400, cm400},
		{"a user of the query", request("POST", "/coupons/1/issue?userId=1&user_id=1"), 400, cm400},

		{"two keys", request("POST", "/coupons/1/issue", user, "Idempotency-Key: a", "Idempotency-Key: a"), 400, cm400},
		{"an empty key", key(""), 400, cm400},
		{"a key of blanks", key("   "), 400, cm400},
		{"a key with a blank", key("a b"), 400, cm400},
		{"a key with a tab", key("a\tb"), 400, cm400},
		{"a key with a DEL", key("a\x7fb"), 400, cm400},
		{"a key with a control character", key("a\x01b"), 400, cm400},
		{"a key that is not ASCII", key("키"), 400, cm400},
		{"a key of 129", key(strings.Repeat("k", 129)), 400, cm400},

		{"a header without a colon", "GET /products/1 HTTP/1.1\r\nHost: shop\r\nnonsense\r\n\r\n", 400, cm400},
		{"no host", "GET /products/1 HTTP/1.1\r\n\r\n", 400, cm400},
		{"two hosts", request("GET", "/products/1", "Host: other"), 400, cm400},
		{"no HTTP", "hello\r\n\r\n", 400, cm400},
		{"an unknown transfer encoding", request("POST", "/coupons/1/issue", user, "Transfer-Encoding: gzip"), 400, cm400},
		{"a broken chunk", request("POST", "/coupons/1/issue", user, "Transfer-Encoding: chunked") + "zz\r\n", 400, cm400},
		{"lengths that differ", request("POST", "/coupons/1/issue", user, "Content-Length: 1", "Content-Length: 2") + "xx", 400, cm400},

		{"a body too large", request("POST", "/coupons/1/issue", user, "Content-Length: 8193") + strings.Repeat("x", 8193), 413, cm413},
		{"a huge body", request("POST", "/coupons/1/issue", user, "Content-Length: 52428800") + strings.Repeat("x", 1<<20), 413, cm413},
		{"a huge body in chunks", request("POST", "/coupons/1/issue", user, "Transfer-Encoding: chunked") + strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 500), 413, cm413},
		{"a body of a GET too large", request("GET", "/products/1", "Content-Length: 8193") + strings.Repeat("x", 8193), 413, cm413},
		{"headers too large", request("GET", "/products/1", "X: "+strings.Repeat("x", 17<<10)), 431, cm431},
		{"a megabyte of headers", request("GET", "/products/1", "X: "+strings.Repeat("x", 1<<20)), 431, cm431},
		{"many headers", request("GET", "/products/1", slices.Repeat([]string{"X-Y: 1"}, 3000)...), 431, cm431},
		{"an address too long", request("GET", "/products?x="+strings.Repeat("x", 17<<10)), 431, cm431},
	}
	for _, id := range []string{
		"0", "-1", "+1", "01", "00", "0x1", "0b1", "1_0", "1e3", "1.0", "abc", "x", "9223372036854775808",
		"18446744073709551617", "99999999999999999999", "1%20", "%31", "%2B1", "1%00", "1;2", "1,2", "１", "١", "1%2F2", "null", "popular%20", "1:x",
	} {
		cases = append(cases,
			refusal{"product id " + id, request("GET", "/products/"+id), 400, cm400},
			refusal{"coupon id " + id, request("POST", "/coupons/"+id+"/issue", user), 400, cm400})
		if !strings.Contains(id, "%") {
			cases = append(cases, refusal{"user " + id, header(id), 400, cm400})
		}
	}
	for _, query := range []string{
		"size=0", "size=101", "size=-1", "size=%2B5", "size=+5", "size=05", "size=5.0", "size=0x5", "size=", "size", "size=x", "size=99999999999999999999", "size=5&size=5", "size=5&%73ize=5", "size=%zz", "size=5;sort=price",
		"categoryId=0", "categoryId=-1", "categoryId=", "categoryId=x", "categoryId=9223372036854775808", "categoryId=1&categoryId=2",
		"isActive=", "isActive=1", "isActive=t", "isActive=TRUE", "isActive=True", "isActive=yes", "isActive=true&isActive=true",
		"sort=", "sort=name", "sort=PRICE", "sort=PRODUCT_SORT_PRICE", "sort=1", "sort=price&sort=views",
		"cursor=", "cursor=%00", "cursor=a%20b", "cursor=%ff", "cursor=a&cursor=a", "cursor=" + strings.Repeat("x", 513),
	} {
		cases = append(cases, refusal{"list " + query, request("GET", "/products?"+query), 400, cm400})
		if strings.HasPrefix(query, "size") {
			cases = append(cases, refusal{"popular " + query, request("GET", "/products/popular?"+query), 400, cm400})
		}
	}
	for _, c := range cases {
		t.Run(c.name[:min(len(c.name), 60)], func(t *testing.T) {
			answer, body := send(t, g.HTTPAddr(), "", c.request)
			if answer.StatusCode != c.status || body != c.body {
				t.Errorf("got %d %s\nwant %d %s", answer.StatusCode, body, c.status, c.body)
			}
			if got := answer.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type: %q", got)
			}
		})
	}
	if n := server.Calls(); n != 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestWrongMethodsAreNamedTheRightOnes(t *testing.T) {
	g, server := startBoth(t, nil, nil)
	for path, allow := range map[string]string{
		"/coupons/1/issue": "GET, POST", "/coupons/x/issue": "GET, POST",
		"/products/1": "GET", "/products/x": "GET", "/products": "GET", "/products/popular": "GET",
	} {
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "get", "BREW", "POST"} {
			if method == "POST" && allow != "GET" {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				form := "size=5"
				answer, body := send(t, g.HTTPAddr(), method, request(method, path, "X-HTTP-Method-Override: GET",
					"Content-Type: application/x-www-form-urlencoded", fmt.Sprint("Content-Length: ", len(form)))+form)
				want := cm405
				if method == "HEAD" {
					want = ""
				}
				if answer.StatusCode != 405 || body != want || answer.Header.Get("Allow") != allow {
					t.Errorf("got %d %s, Allow: %s", answer.StatusCode, body, answer.Header.Get("Allow"))
				}
			})
		}
	}
	if n := server.Calls(); n != 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestTheServerIsSentWhatWasAskedAndNothingElse(t *testing.T) {
	g, server := startBoth(t, nil, nil)
	sort := productv1.ProductSort_PRODUCT_SORT_VIEWS
	for _, c := range []struct {
		name, request string
		want          proto.Message
	}{
		{"a claim", request("POST", "/coupons/1/issue", "userId: 7"), &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7}},
		{"a claim with a key", request("POST", "/coupons/1/issue", "USERID: 7", "idempotency-key: !~"), &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7, IdempotencyKey: proto.String("!~")}},
		{"the longest key", request("POST", "/coupons/1/issue", "userId: 7", "Idempotency-Key: "+strings.Repeat("k", 128)), &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7, IdempotencyKey: proto.String(strings.Repeat("k", 128))}},
		{"a forged query", request("POST", "/coupons/1/issue?user_id=8&userId=8&coupon_id=8&idempotency_key=x&idempotencyKey=x", "userId: 7"), &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7}},
		{"a forged query, asking", request("GET", "/coupons/1/issue?user_id=8&coupon_id=8", "userId: 1"), &couponv1.GetCouponIssueRequest{CouponId: 1, UserId: 1}},
		{"a broken query", request("GET", "/coupons/1/issue?%zz;&&=", "userId: 1"), &couponv1.GetCouponIssueRequest{CouponId: 1, UserId: 1}},
		{"a forged form", request("POST", "/coupons/1/issue", "userId: 7", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 31") + "user_id=8&idempotency_key=forged", &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7}},
		{"a JSON body", request("POST", "/coupons/1/issue", "userId: 7", "Content-Type: application/json", "Content-Length: 13") + `{"userId":8}x`, &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7}},
		{"the largest body", request("POST", "/coupons/1/issue", "userId: 7", "Content-Length: 8192") + strings.Repeat("x", 8192), &couponv1.IssueCouponRequest{CouponId: 1, UserId: 7}},
		{"a key on a GET is nothing", request("GET", "/coupons/1/issue", "userId: 1", "Idempotency-Key: "), &couponv1.GetCouponIssueRequest{CouponId: 1, UserId: 1}},
		{"a product", request("GET", "/products/100?product_id=3", "userId: x"), &productv1.GetProductRequest{ProductId: 100}},
		{"a plain list", request("GET", "/products"), &productv1.ListProductsRequest{}},
		{"a full list", request("GET", "/products?categoryId=5&isActive=false&sort=views&size=100&cursor=bmV4dA&utm=1&utm=2"), &productv1.ListProductsRequest{CategoryId: proto.Int64(5), IsActive: proto.Bool(false), Sort: sort, PageSize: proto.Int32(100), Cursor: proto.String("bmV4dA")}},
		{"the proto's own names are unknown", request("GET", "/products?category_id=x&page_size=x&is_active=x&pageSize=x"), &productv1.ListProductsRequest{}},
		{"popular knows size alone", request("GET", "/products/popular?size=7&categoryId=x&sort=x&isActive=x&cursor="), &productv1.ListPopularProductsRequest{PageSize: proto.Int32(7)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := send(t, g.HTTPAddr(), "", c.request)
			if answer.StatusCode != 200 {
				t.Fatalf("got %d %s", answer.StatusCode, body)
			}
			if got := server.Last(t).Request; !proto.Equal(got, c.want) {
				t.Errorf("the server was sent %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestAClientCannotForgeMetadataOrDeadlines(t *testing.T) {
	g, server := startBoth(t, nil, nil)
	trace := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	answer, body := send(t, g.HTTPAddr(), "", request("POST", "/coupons/1/issue", "userId: 12345",
		"Grpc-Metadata-userid: 8", "Grpc-Metadata-x-request-id: forged", "Grpc-Metadata-Secret-bin: AAAA", "Grpc-Timeout: 1n", "Authorization: Bearer x",
		"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil", "X-Request-Id: forged", "Cookie: a=b", "TE: trailers", "traceparent: "+trace))
	if answer.StatusCode != 200 || body != queued {
		t.Fatalf("got %d %s", answer.StatusCode, body)
	}
	checkHeaders(t, answer, len(queued))
	got := server.Last(t)
	want := map[string]string{
		":authority": "localhost", "content-type": "application/grpc", "traceparent": trace,
		"x-request-id":         answer.Header.Get("X-Request-Id"),
		"grpc-accept-encoding": "gzip", // what this process can read, as it has the OTLP exporter linked in
	}
	for name, values := range got.Metadata {
		if name != "user-agent" && (len(values) != 1 || values[0] != want[name]) {
			t.Errorf("the server was sent %s: %q", name, values)
		}
	}
	if !slices.Equal(got.Metadata["traceparent"], []string{trace}) || len(got.Metadata["x-request-id"]) != 1 {
		t.Errorf("the server was sent %v", got.Metadata)
	}
	if !got.Deadline {
		t.Error("the call had no deadline")
	}
}

func TestAMalformedTraceContextIsNotPassedOn(t *testing.T) {
	g, server := startBoth(t, nil, nil)
	for _, headers := range [][]string{
		{"traceparent: nonsense"},
		{"traceparent: 00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"},
		{"traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01"},
		{"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"},
		{"traceparent: ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		{"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	} {
		if answer, body := send(t, g.HTTPAddr(), "", request("GET", "/products/1", headers...)); answer.StatusCode != 200 {
			t.Errorf("got %d %s", answer.StatusCode, body)
		}
		if got := server.Last(t).Metadata["traceparent"]; got != nil {
			t.Errorf("%q: the server was sent %q", headers, got)
		}
	}
}
