package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"

	"ecom/gateway/config"
	"ecom/gateway/internal/fake"
	"ecom/gateway/internal/wait"
	"ecom/gateway/obs"
)

// A hold keeps calls waiting in the server until they are released.
type hold struct {
	entered chan struct{}
	release chan struct{}
}

func newHold() *hold { return &hold{make(chan struct{}, 100), make(chan struct{})} }

func (h *hold) intercept(ctx context.Context, _ string) (any, error) {
	h.entered <- struct{}{}
	select {
	case <-h.release:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *hold) waitEntered(t *testing.T) {
	t.Helper()
	select {
	case <-h.entered:
	case <-time.After(patience):
		t.Fatal("no call reached the server")
	}
}

type reply struct {
	answer *http.Response
	body   string
}

func sendLater(t *testing.T, address, raw string) <-chan reply {
	t.Helper()
	replies := make(chan reply, 1)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	go func() {
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("no answer: %v", err)
			close(replies)
			return
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Errorf("half an answer: %v", err)
		}
		replies <- reply{answer, string(body)}
	}()
	return replies
}

func receive(t *testing.T, replies <-chan reply) reply {
	t.Helper()
	select {
	case r, ok := <-replies:
		if !ok {
			t.FailNow()
		}
		return r
	case <-time.After(patience):
		t.Fatal("no answer in time")
		panic("unreachable")
	}
}

func expect(t *testing.T, answer *http.Response, body string, status int, want string) {
	t.Helper()
	if answer.StatusCode != status || body != want {
		t.Errorf("got %d %s\nwant %d %s", answer.StatusCode, body, status, want)
	}
}

func TestWithoutAServerAnswersAre503AtOnceAndTheServerIsUsedSoonAfterItIsThere(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "server.sock")
	g := start(t, "unix:"+socket, nil)
	for range 3 { // a server that comes, goes and comes again
		began := time.Now()
		answer, body := send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
		expect(t, answer, body, 503, cm503)
		if answer.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After: %q", answer.Header.Get("Retry-After"))
		}
		// A claim that never reached a connection is not of unknown outcome.
		answer, body = send(t, g.HTTPAddr(), "", request("POST", "/coupons/1/issue", "userId: 1"))
		expect(t, answer, body, 503, cm503)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the refusal took %v", took)
		}
		if status, body := get(t, "http://"+g.AdminAddr()+"/health/ready"); status != 503 {
			t.Errorf("ready: %d %s", status, body)
		}
		if status, body := get(t, "http://"+g.AdminAddr()+"/health/live"); status != 200 {
			t.Errorf("live: %d %s", status, body)
		}

		server := fake.Start(t, fake.Listen(t, socket), nil)
		listening := time.Now()
		wait.Until(t, "the server to be used", func() bool {
			answer, _ := send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
			return answer.StatusCode == 200
		})
		if took := time.Since(listening); took > time.Second {
			t.Errorf("the server was used only after %v", took)
		}
		server.Stop()
		wait.Until(t, "the loss to be noticed", func() bool {
			answer, _ := send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
			return answer.StatusCode == 503
		})
	}
}

func TestASocketPathOfAnyLengthWorks(t *testing.T) {
	folder := filepath.Join(t.TempDir(), strings.Repeat("long", 30), strings.Repeat("longer", 20))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	handle, err := os.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	fake.Start(t, fake.Listen(t, fmt.Sprintf("/proc/self/fd/%d/server.sock", handle.Fd())), nil)
	g := start(t, "unix:"+filepath.Join(folder, "server.sock"), nil)
	waitUntilReady(t, g)
	answer, body := send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
	expect(t, answer, body, 200, product1)
}

func TestOfTwoServersEitherMayDie(t *testing.T) {
	sockets := []string{filepath.Join(t.TempDir(), "a.sock"), filepath.Join(t.TempDir(), "b.sock")}
	servers := make([]*fake.Server, 2)
	for i, socket := range sockets {
		servers[i] = fake.Start(t, fake.Listen(t, socket), nil)
	}
	g := start(t, "unix:"+sockets[0]+",unix:"+sockets[1], nil)
	waitUntilReady(t, g)
	answered := func(n int) bool {
		for range n {
			if answer, _ := send(t, g.HTTPAddr(), "", request("POST", "/coupons/1/issue", "userId: 1")); answer.StatusCode != 200 {
				return false
			}
		}
		return true
	}
	bothUsed := func() bool {
		before := []int{servers[0].Calls(), servers[1].Calls()}
		return answered(10) && servers[0].Calls() > before[0] && servers[1].Calls() > before[1]
	}
	wait.Until(t, "both to be used", bothUsed)
	for i, socket := range []string{sockets[0], sockets[1], sockets[0], sockets[1]} {
		servers[i%2].Stop()
		wait.Until(t, "the loss to be noticed", func() bool { return answered(50) })
		if status, body := get(t, "http://"+g.AdminAddr()+"/health/ready"); status != 200 {
			t.Errorf("ready: %d %s", status, body)
		}
		servers[i%2] = fake.Start(t, fake.Listen(t, socket), nil)
		wait.Until(t, "both to be used again", bothUsed)
	}
}

func TestATCPTargetWorks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake.Start(t, l, nil)
	g := start(t, l.Addr().String(), nil)
	waitUntilReady(t, g)
	answer, body := send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
	expect(t, answer, body, 200, product1)
}

func TestACallThatTakesTooLongIs504(t *testing.T) {
	h := newHold()
	g, _ := startBoth(t, h.intercept, func(c *config.Config) { c.UpstreamTimeout = 50 * time.Millisecond })
	for _, raw := range []string{request("POST", "/coupons/1/issue", "userId: 1"), request("GET", "/products/1")} {
		answer, body := send(t, g.HTTPAddr(), "", raw)
		expect(t, answer, body, 504, cm504)
	}
}

func TestAServerThatDiesInACallLeavesAClaimUnknownAndAReadUnavailable(t *testing.T) {
	h := newHold()
	g, server := startBoth(t, h.intercept, nil)
	claim := sendLater(t, g.HTTPAddr(), request("POST", "/coupons/1/issue", "userId: 1"))
	read := sendLater(t, g.HTTPAddr(), request("GET", "/products/1"))
	h.waitEntered(t)
	h.waitEntered(t)
	server.Stop()
	r := receive(t, claim)
	expect(t, r.answer, r.body, 504, cm504)
	r = receive(t, read)
	expect(t, r.answer, r.body, 503, cm503)
}

func TestAServerThatSaysUnavailableIsBelieved(t *testing.T) {
	g, _ := startBoth(t, func(context.Context, string) (any, error) {
		return nil, fake.Error(codes.Unavailable, "UNAVAILABLE", "CM503")
	}, nil)
	answer, body := send(t, g.HTTPAddr(), "", request("POST", "/coupons/1/issue", "userId: 1"))
	expect(t, answer, body, 503, cm503)
}

func TestAClientThatHangsUpEndsItsCall(t *testing.T) {
	ended := make(chan error, 1)
	entered := make(chan struct{}, 1)
	g, _ := startBoth(t, func(ctx context.Context, _ string) (any, error) {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}, func(c *config.Config) { c.UpstreamTimeout = patience })
	c, err := net.Dial("tcp", g.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request("GET", "/products/1")); err != nil {
		t.Fatal(err)
	}
	<-entered
	c.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the call ended with %v", err)
		}
	case <-time.After(patience / 2):
		t.Error("the call went on")
	}
}

func TestMoreRequestsThanTheLimitAre503AtOnce(t *testing.T) {
	h := newHold()
	g, _ := startBoth(t, h.intercept, func(c *config.Config) { c.InFlightMax = 2 })
	first := sendLater(t, g.HTTPAddr(), request("GET", "/products/1"))
	second := sendLater(t, g.HTTPAddr(), request("GET", "/products/1"))
	h.waitEntered(t)
	h.waitEntered(t)
	answer, body := send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
	expect(t, answer, body, 503, cm503)
	answer, body = send(t, g.HTTPAddr(), "", request("GET", "/products/x"))
	expect(t, answer, body, 400, cm400)
	close(h.release)
	for _, replies := range []<-chan reply{first, second} {
		r := receive(t, replies)
		expect(t, r.answer, r.body, 200, product1)
	}
	answer, body = send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
	expect(t, answer, body, 200, product1)
}

func TestMoreConnectionsThanTheLimitWaitTheirTurn(t *testing.T) {
	g, _ := startBoth(t, nil, func(c *config.Config) { c.ConnectionsMax = 1 })
	idle, err := net.Dial("tcp", g.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	// Its answer proves that the only slot is taken.
	if _, err := io.WriteString(idle, request("GET", "/products/1")); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(idle), nil); err != nil {
		t.Fatal(err)
	}
	waiting := sendLater(t, g.HTTPAddr(), request("GET", "/products/1"))
	select {
	case <-waiting:
		t.Fatal("answered beyond the limit")
	case <-time.After(50 * time.Millisecond):
	}
	idle.Close()
	r := receive(t, waiting)
	expect(t, r.answer, r.body, 200, product1)
}

func TestASlowHeaderIsCutWhileOthersAreServed(t *testing.T) {
	g, _ := startBoth(t, nil, func(c *config.Config) { c.HeaderTimeout = 50 * time.Millisecond })
	slow, err := net.Dial("tcp", g.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := io.WriteString(slow, "GET /products/1 HTTP/1.1\r\nHost: sh"); err != nil {
		t.Fatal(err)
	}
	answer, body := send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
	expect(t, answer, body, 200, product1)
	if err := slow.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := slow.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the slow connection got %d bytes, %v", n, err)
	}
}

func TestDrainingFinishesWhatIsInFlightAndRefusesNothingBefore(t *testing.T) {
	h := newHold()
	g, _ := startBoth(t, h.intercept, func(c *config.Config) { c.DrainGrace = 300 * time.Millisecond })
	before := sendLater(t, g.HTTPAddr(), request("POST", "/coupons/1/issue", "userId: 12345"))
	h.waitEntered(t)
	g.stop()
	wait.Until(t, "not ready", func() bool {
		status, body := get(t, "http://"+g.AdminAddr()+"/health/ready")
		return status == 503 && strings.Contains(body, "draining")
	})
	answer, body := send(t, g.HTTPAddr(), "", request("GET", "/nope"))
	expect(t, answer, body, 404, cm404)
	if !answer.Close {
		t.Error("an answer while draining keeps its connection")
	}
	during := sendLater(t, g.HTTPAddr(), request("POST", "/coupons/1/issue", "userId: 12345"))
	h.waitEntered(t)
	wait.Until(t, "the listener to close", func() bool {
		c, err := net.Dial("tcp", g.HTTPAddr())
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	close(h.release)
	for _, replies := range []<-chan reply{before, during} {
		r := receive(t, replies)
		expect(t, r.answer, r.body, 200, queued)
	}
	select {
	case err := <-g.stopped:
		if err != nil {
			t.Errorf("the stop was not clean: %v", err)
		}
		g.stopped <- nil // for the cleanup
	case <-time.After(patience):
		t.Error("the gateway did not stop")
	}
}

func TestDrainingUnderLoadFailsNoRequest(t *testing.T) {
	g, _ := startBoth(t, nil, nil)
	var answered, refused atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				c, err := net.Dial("tcp", g.HTTPAddr())
				if err != nil {
					// Reset in connect(2) is a refusal, too: nothing was sent yet.
					if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("connecting: %v", err)
					}
					refused.Add(1)
					return
				}
				_, err = io.WriteString(c, request("GET", "/products/1"))
				var answer *http.Response
				if err == nil {
					answer, err = http.ReadResponse(bufio.NewReader(c), nil)
				}
				c.Close()
				if err != nil || answer.StatusCode != 200 {
					t.Errorf("a request failed: %v %v", answer, err)
					return
				}
				if answered.Add(1) == 200 {
					g.stop()
				}
			}
		})
	}
	clients.Wait()
	if err := <-g.stopped; err != nil {
		t.Errorf("the stop was not clean: %v", err)
	}
	g.stopped <- nil // for the cleanup
	if answered.Load() < 200 || refused.Load() != 8 {
		t.Errorf("%d answered, %d refused", answered.Load(), refused.Load())
	}
}

func TestRequestsThatOutliveTheDrainAreCutAndReported(t *testing.T) {
	h := newHold()
	g, _ := startBoth(t, h.intercept, func(c *config.Config) {
		c.UpstreamTimeout, c.DrainGrace, c.DrainTimeout = patience, 0, 50*time.Millisecond
	})
	c, err := net.Dial("tcp", g.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request("GET", "/products/1")); err != nil {
		t.Fatal(err)
	}
	h.waitEntered(t)
	g.stop()
	if err := <-g.stopped; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the stop ended with %v", err)
	}
	g.stopped <- nil // for the cleanup
}

func TestReadyFollowsTheServersHealth(t *testing.T) {
	g, server := startBoth(t, nil, nil)
	server.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	wait.Until(t, "not ready", func() bool {
		status, _ := get(t, "http://"+g.AdminAddr()+"/actuator/health")
		return status == 503
	})
	server.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	waitUntilReady(t, g)
}

func TestTheAdminAddressShowsBuildAndMetrics(t *testing.T) {
	g, _ := startBoth(t, nil, nil)
	for _, raw := range []string{
		request("GET", "/products/1"), request("GET", "/products/101"), request("POST", "/coupons/1/issue", "userId: 1"),
		request("GET", "/nope"), request("BREW", "/products/1"),
	} {
		send(t, g.HTTPAddr(), "", raw)
	}
	for _, path := range []string{"/info", "/actuator/info"} {
		if status, body := get(t, "http://"+g.AdminAddr()+path); status != 200 ||
			!strings.Contains(body, `"name":"ecom-gateway","version":"1.2.3","commit":"abcdef","go":"go1.`) ||
			!strings.Contains(body, `"config_digest":"0123456789ab"`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/metrics", "/actuator/prometheus"} {
		_, body := get(t, "http://"+g.AdminAddr()+path)
		for _, want := range []string{
			`http_requests_total{method="GET",route="/products/{productId}",status="200"} 1`,
			`http_requests_total{method="GET",route="/products/{productId}",status="404"} 1`,
			`http_requests_total{method="POST",route="/coupons/{couponId}/issue",status="200"} 1`,
			`http_requests_total{method="GET",route="none",status="404"} 1`,
			`http_requests_total{method="OTHER",route="/products/{productId}",status="405"} 1`,
			`http_request_duration_seconds_bucket{method="GET",route="/products/{productId}",le="+Inf"} 2`,
			`http_requests_in_flight 0`,
			`ecom_build_info{commit="abcdef",process="ecom-gateway",version="1.2.3"} 1`,
			`process_resident_memory_bytes`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
	}
	if status, _ := get(t, "http://"+g.AdminAddr()+"/products/1"); status != 404 {
		t.Errorf("the API is on the admin address: %d", status)
	}
}

func TestATakenPortIsAnErrorThatNamesIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, flag := range []string{"http-addr", "gateway-admin-addr"} {
		args := []string{"--http-addr=127.0.0.1:0", "--gateway-admin-addr=127.0.0.1:0", "--" + flag + "=" + l.Addr().String()}
		c, err := config.Load(args, nil, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(c, obs.NewBuild("", "", ""), slog.New(slog.DiscardHandler))
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func BenchmarkGetProduct(b *testing.B) {
	g, _ := startBoth(b, nil, nil)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	url := "http://" + g.HTTPAddr() + "/products/1"
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			answer, err := client.Get(url)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode != 200 {
				b.Errorf("status %d", answer.StatusCode)
				return
			}
		}
	})
}
