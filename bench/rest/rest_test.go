package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// shop has `stock` units of every coupon, and every product.
func shop(t *testing.T, stock int) string {
	t.Helper()
	var mu sync.Mutex
	holders := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if id, found := strings.CutPrefix(r.URL.Path, "/products/"); found {
			fmt.Fprintf(w, `{"id":%s,"name":"n"}`, id)
			return
		}
		user := r.Header.Get("userId")
		switch {
		case holders[user]:
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"code":"CP102","message":"m"}`)
		case len(holders) == stock:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"code":"CP101","message":"m"}`)
		default:
			holders[user] = true
			fmt.Fprintf(w, `{"userId":%s,"couponId":1,"requestId":"r","status":"QUEUED"}`, user)
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func dial(t *testing.T, address, method string, options KindOptions, count int) []*user {
	t.Helper()
	options.Host = address
	users := make([]*user, count)
	for i := range users {
		connection, err := Dial(address, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(connection.Close)
		kind, err := NewKind(method, options, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		users[i] = &user{connection, kind, newMeasured()}
	}
	return users
}

func TestClosedLoopTellsOutcomesApartAndCountsEveryRequest(t *testing.T) {
	address := shop(t, 100)
	options := KindOptions{CouponID: 1, UserBase: 1000}
	first, elapsed := Load{Requests: 250}.Run(dial(t, address, "issue-coupon", options, 8))
	if first.Total != [outcomes]int64{100, 150, 0, 0} || elapsed <= 0 || len(first.Latencies[SoldOut]) != 150 {
		t.Fatalf("%v of %v in %s", first.Total, first.Codes, elapsed)
	}
	options.Users = 8
	again, _ := Load{Requests: 80}.Run(dial(t, address, "issue-coupon", options, 8))
	if again.Total[Duplicate] == 0 || again.Total[Error] != 0 {
		t.Fatalf("%v of %v", again.Total, again.Codes)
	}
}

func TestClosedLoopLeavesTheWarmUpOut(t *testing.T) {
	load := Load{WarmUp: 100 * time.Millisecond, Duration: 100 * time.Millisecond}
	got, _ := load.Run(dial(t, shop(t, 0), "get-product", KindOptions{}, 4))
	measured := int64(len(got.Latencies[Accepted]))
	if measured == 0 || measured >= got.Total[Accepted] || got.Total[Error] != 0 {
		t.Fatalf("%d measured of %v %v", measured, got.Total, got.Codes)
	}
}

// One request stalls the only connection: those that were due meanwhile have waited, though each was
// answered at once when it was sent.
func TestOpenModelCountsFromWhenARequestWasDue(t *testing.T) {
	const stall = 200 * time.Millisecond
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { time.Sleep(stall) })
		fmt.Fprint(w, `{"id":1,"name":"n"}`)
	}))
	defer server.Close()
	load := Load{Rate: 500, Duration: 400 * time.Millisecond}
	got, _ := load.Run(dial(t, server.Listener.Addr().String(), "fixed", KindOptions{}, 1))
	if got.Total[Accepted] != load.scheduled() || load.scheduled() != 200 {
		t.Fatalf("%v of %d", got.Total, load.scheduled())
	}
	waited := 0
	for _, latency := range got.Latencies[Accepted] {
		if latency > stall/2 {
			waited++
		}
	}
	// 100 requests fall due in the stall; 50 of them in its first half.
	if waited < 45 {
		t.Errorf("only %d requests have waited for more than half of the stall", waited)
	}
}

// A server that answers 100 a second is not seen to answer 500.
func TestOpenModelCountsTheTimeUntilTheLastAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(10 * time.Millisecond)
		fmt.Fprint(w, `{"id":1,"name":"n"}`)
	}))
	defer server.Close()
	load := Load{Rate: 500, Duration: 100 * time.Millisecond}
	got, elapsed := load.Run(dial(t, server.Listener.Addr().String(), "fixed", KindOptions{}, 1))
	if got.Total[Accepted] != 50 || elapsed < 500*time.Millisecond {
		t.Errorf("%d answers in %s", got.Total[Accepted], elapsed)
	}
}

func TestOpenModelSendsAtEvenIntervals(t *testing.T) {
	load := Load{Rate: 2000, WarmUp: time.Second, Duration: 2 * time.Second}
	if load.scheduled() != 6000 || load.dueAfter(1) != 500*time.Microsecond || load.dueAfter(2000) != time.Second {
		t.Errorf("%d requests, at %s and %s", load.scheduled(), load.dueAfter(1), load.dueAfter(2000))
	}
}

func TestKindsJudgeTheAnswerNotOnlyItsStatus(t *testing.T) {
	issue, _ := NewKind("issue-coupon", KindOptions{CouponID: 7, UserBase: 42}, 0)
	if request := string(issue.Next(1)); !strings.HasPrefix(request, "POST /coupons/7/issue HTTP/1.1\r\n") || !strings.Contains(request, "\r\nuserId: 43\r\n") {
		t.Fatalf("%q", request)
	}
	for _, c := range []struct {
		status int
		body   string
		want   Verdict
	}{
		{200, `{"userId":43,"couponId":7,"status":"QUEUED"}`, Verdict{Accepted, "200 QUEUED"}},
		{200, `{"userId":4,"couponId":7,"status":"QUEUED"}`, Verdict{Error, "200 that promises something else"}},
		{200, `{"userId":43,"couponId":7}`, Verdict{Error, "200 that promises something else"}},
		{400, `{"code":"CP101"}`, Verdict{SoldOut, "400 CP101"}},
		{409, `{"code":"CP102"}`, Verdict{Duplicate, "409 CP102"}},
		{409, `{"code":"CP101"}`, Verdict{Error, "409 CP101"}},
		{503, `{"code":"CM503"}`, Verdict{Error, "503 CM503"}},
		{502, ``, Verdict{Error, "502"}},
	} {
		if got := issue.Judge(Answer{c.status, []byte(c.body)}); got != c.want {
			t.Errorf("%d %s: %v, want %v", c.status, c.body, got, c.want)
		}
	}
	get, _ := NewKind("get-product", KindOptions{Seed: 1}, 0)
	get.Next(0)
	if got := get.Judge(Answer{200, []byte(`{"id":1000,"name":"n"}`)}); got.Outcome != Error {
		t.Errorf("another product: %v", got)
	}
}

// Answers that come in pieces, one that ends the connection, one that is cut short, one that is no HTTP.
func TestConnectionReadsWhatServersSend(t *testing.T) {
	answers := []string{
		"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlast",
		"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nbody",
		"SSH-2.0\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for i := 0; i < len(answers); i++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 1024)
			if _, err := conn.Read(buffer); err == nil {
				for _, b := range []byte(answers[i]) {
					_, _ = conn.Write([]byte{b})
				}
			}
			_ = conn.Close()
		}
	}()
	connection, err := Dial(listener.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	for i, want := range []string{"body", "last", "", "", ""} {
		if i == 1 {
			connection.Close() // the server has closed, without saying so
		}
		answer, err := connection.Exchange([]byte("GET / HTTP/1.1\r\n\r\n"), time.Now())
		if (err == nil) != (want != "") || string(answer.Body) != want {
			t.Errorf("%q: %q, %v", answers[i], answer.Body, err)
		}
	}
}

func TestParseRefusesWhatItCannotDo(t *testing.T) {
	for _, arguments := range [][]string{
		{"-connections=0"}, {"-rate=-1"}, {"-seconds=0"}, {"-seconds=NaN"}, {"-requests=1", "-rate=1"},
		{"-user-base=" + strconv.FormatInt(maxUser+1, 10)}, {"-users=-1"}, {"-timeout=0"}, {"extra"},
	} {
		if _, err := parse(arguments); err == nil {
			t.Errorf("%v is taken", arguments)
		}
	}
	if s, err := parse([]string{"-seconds=1.5", "-rate=500"}); err != nil || s.load.Duration != 1500*time.Millisecond {
		t.Errorf("%+v, %v", s, err)
	}
}
