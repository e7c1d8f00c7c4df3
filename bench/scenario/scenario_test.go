package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

func TestStagesRampAsTheScenarioSays(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		users int
		over  bool
	}{
		{0, 0, false}, {7500 * time.Millisecond, 25, false}, {15 * time.Second, 50, false},
		{30 * time.Second, 100, false}, {45 * time.Second, 200, false}, {60 * time.Second, 300, false},
		{75 * time.Second, 100, false}, {90 * time.Second, 0, true},
	} {
		users, over := UsersAt(stages(false), c.after)
		if users != c.users || over != c.over {
			t.Errorf("after %s: %d users, over %t; want %d, %t", c.after, users, over, c.users, c.over)
		}
	}
	if _, over := UsersAt(stages(true), 15*time.Second); !over {
		t.Error("the short form takes longer than 15 s")
	}
}

func TestCounterSumsTheSeriesWithAllLabels(t *testing.T) {
	page := []byte("# TYPE c counter\nc{level=\"l1\",result=\"hit\"} 3\nc{level=\"l1\",result=\"hit\",shard=\"2\"} 4 1700000000\n" +
		"c{level=\"l2\",result=\"hit\"} 100\ncx{level=\"l1\",result=\"hit\"} 1000\n")
	if sum, found := Counter(page, "c", `level="l1"`, `result="hit"`); !found || sum != 7 {
		t.Errorf("got %v, %t; want 7, true", sum, found)
	}
	if _, found := Counter(page, "c", `level="l1"`, `result="miss"`); found {
		t.Error("found a series that is not there")
	}
}

// shop answers as the contract says until the stock is gone; `lie` spoils the answers.
func shop(t *testing.T, stock int, lie func(user int64) (status int, body string)) *httptest.Server {
	t.Helper()
	var mu sync.Mutex
	taken := map[int64]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var user int64
		if _, err := fmt.Sscan(r.Header.Get("userId"), &user); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if lie != nil {
			status, body := lie(user)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return
		}
		switch {
		case taken[user]:
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"code":"CP102","message":"m"}`)
		case len(taken) == stock:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"code":"CP101","message":"m"}`)
		default:
			taken[user] = true
			fmt.Fprintf(w, `{"userId":%d,"couponId":1,"requestId":"00000000-0000-4000-8000-000000000000","status":"QUEUED"}`, user)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestCouponAnswersAreToldApart(t *testing.T) {
	queued := func(user int64, status string) string {
		return fmt.Sprintf(`{"userId":%d,"couponId":1,"requestId":"00000000-0000-4000-8000-000000000000","status":%q}`, user, status)
	}
	for name, c := range map[string]struct {
		lie  func(int64) (int, string)
		kind Kind
	}{
		"a promise":              {func(u int64) (int, string) { return 200, queued(u, "QUEUED") }, KindAccepted},
		"sold out":               {func(int64) (int, string) { return 400, `{"code":"CP101"}` }, KindSoldOut},
		"a duplicate":            {func(int64) (int, string) { return 409, `{"code":"CP102"}` }, KindDuplicate},
		"not open":               {func(int64) (int, string) { return 400, `{"code":"CP105"}` }, KindError},
		"a promise to another":   {func(u int64) (int, string) { return 200, queued(u+1, "QUEUED") }, KindError},
		"another status":         {func(u int64) (int, string) { return 200, queued(u, "ISSUED") }, KindError},
		"no JSON":                {func(int64) (int, string) { return 200, "ok" }, KindError},
		"a sold out without 400": {func(int64) (int, string) { return 200, `{"code":"CP101"}` }, KindError},
		"a 503":                  {func(int64) (int, string) { return 503, `{"code":"CM503"}` }, KindError},
	} {
		t.Run(name, func(t *testing.T) {
			server := shop(t, 0, c.lie)
			scenario, err := newScenario("coupon", Settings{BaseURL: server.URL, CouponID: 1, Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if got := scenario.Request(context.Background()); got.Kind != c.kind {
				t.Errorf("got %+v, want %s", got, c.kind)
			}
		})
	}
}

func TestClosedLoadAcceptsExactlyTheStockAndEveryUserAsksOnce(t *testing.T) {
	server := shop(t, 40, nil)
	settings := Settings{BaseURL: server.URL, CouponID: 1, UserBase: 10, Stock: 40, Timeout: 5 * time.Second}
	scenario, err := newScenario("coupon", settings)
	if err != nil {
		t.Fatal(err)
	}
	recorder := NewRecorder()
	ClosedLoad(context.Background(), scenario, recorder,
		[]Stage{{100 * time.Millisecond, 8}, {100 * time.Millisecond, 0}}, false)
	report := recorder.Report("coupon", settings, time.Second, 0)
	scenario.Judge(context.Background(), report)
	if got := report.Outcomes[KindAccepted].Count; got != 40 {
		t.Errorf("%d were accepted, want 40", got)
	}
	if report.Outcomes[KindDuplicate].Count != 0 || report.Outcomes[KindError].Count != 0 || report.Failed() {
		encoded, _ := json.Marshal(report)
		t.Errorf("unexpected: %s", encoded)
	}
}

func TestOpenLoadSendsAtTheRateAskedFor(t *testing.T) {
	server := shop(t, 1000, nil)
	settings := Settings{BaseURL: server.URL, CouponID: 1, Rate: 500, Timeout: 5 * time.Second}
	scenario, err := newScenario("coupon", settings)
	if err != nil {
		t.Fatal(err)
	}
	recorder := NewRecorder()
	dropped := OpenLoad(context.Background(), scenario, recorder, 500, 200*time.Millisecond)
	if report := recorder.Report("coupon", settings, time.Second, dropped); report.Requests != 100 || dropped != 0 {
		t.Errorf("%d requests, %d dropped; want 100, 0", report.Requests, dropped)
	}
}

func TestAFalseSoldOutFailsTheRun(t *testing.T) {
	settings := Settings{CouponID: 1, Stock: 2}
	recorder := NewRecorder()
	recorder.Add(Outcome{KindAccepted, "200 QUEUED"}, time.Millisecond)
	recorder.Add(Outcome{KindSoldOut, "400 CP101"}, time.Millisecond)
	report := recorder.Report("coupon", settings, time.Millisecond, 0)
	(&coupon{settings: settings}).Judge(context.Background(), report)
	if !report.Failed() {
		t.Error("one of two units was refused and no threshold failed")
	}
}
