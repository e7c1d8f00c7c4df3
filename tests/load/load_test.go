package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/wire"
)

// shop is an honest coupon service in memory, with ways to make it dishonest.
type shop struct {
	mu      sync.Mutex
	stock   int64
	total   int64
	holders map[string]held
	order   []ledger.Row

	loseEvery   int // promises without a row; 0: never
	hangUpEvery int // requests that are carried out and not answered; 0: never
	served      int
}

type held struct{ key, id string }

func newShop(stock int64) *shop {
	return &shop{stock: stock, total: stock, holders: map[string]held{}}
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served++
	status, body := s.issue(r.Header.Get("userId"), r.Header.Get("Idempotency-Key"))
	if s.hangUpEvery > 0 && s.served%s.hangUpEvery == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the client's end says what came of it
}

func (s *shop) issue(user, key string) (int, string) {
	queued := `{"userId":%s,"couponId":1,"requestId":"%s","status":"QUEUED","message":"x"}`
	if h, holds := s.holders[user]; holds {
		if key != "" && h.key == key {
			return 200, fmt.Sprintf(queued, user, h.id)
		}
		return 409, `{"code":"CP102","message":"x"}`
	}
	if s.stock == 0 {
		return 400, `{"code":"CP101","message":"x"}`
	}
	s.stock--
	var number int64
	_, _ = fmt.Sscan(user, &number)
	id := fmt.Sprintf("00000000-0000-4000-8000-%012x", number)
	s.holders[user] = held{key, id}
	if s.loseEvery == 0 || len(s.holders)%s.loseEvery != 0 {
		s.order = append(s.order, ledger.Row{User: number, RequestID: ledger.ParseRequestID(id)})
	}
	return 200, fmt.Sprintf(queued, user, id)
}

func (s *shop) state() *ledger.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &ledger.State{Coupons: []ledger.CouponState{{
		ID: 1, Total: s.total, Available: s.total - int64(len(s.order)), Rows: s.order,
	}}}
}

// sellOut loads the shop until it is sold out, and judges the run.
func sellOut(t *testing.T, s *shop, options Options) (Result, *ledger.Report) {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	path := filepath.Join(t.TempDir(), "journal")
	journal, err := ledger.CreateJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	options.Addrs, options.Coupon, options.Workers = []string{server.Listener.Addr().String()}, 1, 8
	options.FirstUser, options.Seed, options.Journal = 1, 1, journal
	options.KeylessShare, options.TwinShare, options.RetryShare = 0.2, 0.2, 0.5
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	result := Run(ctx, options)
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	report, err := ledger.Check([]io.Reader{bytes.NewReader(text)}, s.state(), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return result, report
}

func TestLoadOnAnHonestShopPassesTheLedger(t *testing.T) {
	result, report := sellOut(t, newShop(2000), Options{SoldOutMax: 100})
	if !report.OK {
		t.Fatalf("%+v", report.Defects)
	}
	if result.Answers[ledger.Queued] < 2000 || result.Answers[ledger.Duplicate] == 0 ||
		result.Answers[ledger.SoldOut] < 100 || len(result.Failures) > 0 {
		t.Fatalf("%+v", result)
	}
}

func TestLoadRetriesWithTheSameKeyWhatGotNoAnswer(t *testing.T) {
	s := newShop(2000)
	s.hangUpEvery = 20
	result, report := sellOut(t, s, Options{SoldOutMax: 100})
	if !report.OK {
		t.Fatalf("%+v", report.Defects)
	}
	if result.Answers[ledger.Unknown] == 0 || result.Failures["closed without an answer"] != result.Answers[ledger.Unknown] {
		t.Fatalf("%+v", result)
	}
}

func TestLoadOnALossyShopFailsTheLedger(t *testing.T) {
	s := newShop(2000)
	s.loseEvery = 100
	_, report := sellOut(t, s, Options{SoldOutMax: 100})
	if report.OK || report.Lost == 0 {
		t.Fatalf("%+v", report)
	}
}

func TestLoadStopsAtItsBounds(t *testing.T) {
	s := newShop(1 << 40)
	result, _ := sellOut(t, s, Options{RequestsMax: 500, UsersMax: 50})
	var sent int64
	for _, count := range result.Answers {
		sent += count
	}
	if sent != 500 || len(s.holders) != 50 {
		t.Fatalf("%d requests of %d users: %+v", sent, len(s.holders), result)
	}
}

func TestLoadKeepsItsPaceAndMakesNothingUp(t *testing.T) {
	s := newShop(1 << 40)
	began := time.Now()
	sellOut(t, s, Options{RequestsMax: 200, PerSecond: 500})
	if took := time.Since(began); took < 200*time.Second/500*9/10 {
		t.Errorf("200 requests at 500 a second took %v", took)
	}
}

func TestLoadHurriesOnceItsPaceEnds(t *testing.T) {
	s := newShop(1 << 40)
	paced, hurry := context.WithCancel(t.Context())
	var answered atomic.Int64
	began := time.Now()
	sellOut(t, s, Options{
		RequestsMax: 200, PerSecond: 10, PacedUntil: paced.Done(),
		Observe: func(ledger.Entry) {
			if answered.Add(1) == 3 {
				hurry()
			}
		},
	})
	if took := time.Since(began); took < 2*time.Second/10*9/10 || took > 10*time.Second {
		t.Errorf("3 requests at 10 a second and the others without a pace took %v", took)
	}
}

func TestLoadSpreadsItsWorkersOverAllSides(t *testing.T) {
	first, second := newShop(1<<40), newShop(1<<40)
	servers := []*httptest.Server{httptest.NewServer(first), httptest.NewServer(second)}
	defer servers[0].Close()
	defer servers[1].Close()
	Run(t.Context(), Options{
		Addrs:  []string{servers[0].Listener.Addr().String(), servers[1].Listener.Addr().String()},
		Coupon: 1, Workers: 2, FirstUser: 1, RequestsMax: 100,
	})
	if len(first.holders) == 0 || len(second.holders) == 0 || len(first.holders)+len(second.holders) != 100 {
		t.Errorf("%d and %d", len(first.holders), len(second.holders))
	}
}

func TestLoadClassifiesEveryAnswer(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	refuse := func(status int, code string) http.HandlerFunc {
		return answer(status, `{"code":"`+code+`","message":"x"}`)
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    ledger.Answer
	}{
		"accepted":             {answer(200, `{"requestId":"r","status":"QUEUED"}`), ledger.Queued},
		"sold out":             {refuse(400, "CP101"), ledger.SoldOut},
		"duplicate":            {refuse(409, "CP102"), ledger.Duplicate},
		"no such coupon":       {refuse(404, "CP103"), ledger.NotFound},
		"not open":             {refuse(400, "CP105"), ledger.NotOpen},
		"invalid":              {refuse(400, "CM400"), ledger.Invalid},
		"rate limited":         {refuse(429, "CM429"), ledger.RateLimited},
		"unavailable":          {refuse(503, "CM503"), ledger.Unavailable},
		"deadline":             {refuse(504, "CM504"), ledger.Unknown},
		"our own bug":          {refuse(500, "CM500"), ledger.Unknown},
		"a code of no meaning": {refuse(400, "XX1"), ledger.Unknown},
		"no JSON":              {answer(502, "<html>"), ledger.Unknown},
		"200 without a status": {answer(200, `{}`), ledger.Unknown},
		"hung up":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ledger.Unknown},
		"never answered":       {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ledger.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			result := Run(t.Context(), Options{Addrs: []string{server.Listener.Addr().String()}, Coupon: 1, Workers: 1, FirstUser: 1,
				RequestsMax: 1, Timeout: 300 * time.Millisecond})
			if len(result.Answers) != 1 || result.Answers[test.want] != 1 {
				t.Fatalf("%+v, want %v", result, test.want)
			}
		})
	}
}

func TestLoadCallsARefusedConnectionNotSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	result := Run(t.Context(), Options{Addrs: []string{addr}, Coupon: 1, Workers: 1, FirstUser: 1, RequestsMax: 3})
	if result.Answers[ledger.NotSent] != 3 {
		t.Fatalf("%+v", result)
	}
}

func TestLoadConnectsAnewWhenTheServerClosedAnIdleConnection(t *testing.T) {
	var closed atomic.Int64
	server := httptest.NewUnstartedServer(newShop(10))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client := wire.NewClient(server.Listener.Addr().String(), 5*time.Second)
	defer client.Close()
	for user := range int64(5) {
		request := wire.Request("POST", "/", []string{fmt.Sprintf("userId: %d", user+1)}, "")
		if response, err := client.Do("POST", request); err != nil || response.Status != 200 {
			t.Fatalf("%+v %v", response, err)
		}
		server.Config.SetKeepAlivesEnabled(false) // closes what is idle
		server.Config.SetKeepAlivesEnabled(true)
		for deadline := time.Now().Add(5 * time.Second); closed.Load() <= user && time.Now().Before(deadline); {
			server.CloseClientConnections()
		}
	}
}
