package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// An answer of the contract is far smaller; more than this is not one.
	maxAnswerBytes = 64 << 10
	// A page of metrics.
	maxMetricsBytes = 4 << 20
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func newScenario(name string, settings Settings) (Scenario, error) {
	client := &http.Client{
		Timeout: settings.Timeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: settings.Timeout}).DialContext,
			MaxIdleConns:        maxInFlight,
			MaxIdleConnsPerHost: maxInFlight,
			DisableCompression:  true,
		},
	}
	switch name {
	case "coupon":
		return &coupon{client: client, settings: settings}, nil
	case "popular-products":
		return &products{client: client, settings: settings}, nil
	}
	return nil, fmt.Errorf("there is no scenario %q: coupon or popular-products", name)
}

// exchange sends a request and reads the whole answer into out. `code` is "" for a 200, else the
// answer's status with the contract's code, or what kept the answer away.
func exchange(client *http.Client, request *http.Request, out any) (code string) {
	response, err := client.Do(request)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return "timeout"
		}
		return "no answer"
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return "broken answer"
	}
	if response.StatusCode != http.StatusOK {
		var failure struct{ Code string }
		if json.Unmarshal(body, &failure) != nil || failure.Code == "" {
			return strconv.Itoa(response.StatusCode)
		}
		return fmt.Sprintf("%d %s", response.StatusCode, failure.Code)
	}
	if json.Unmarshal(body, out) != nil {
		return "200 without the JSON asked for"
	}
	return ""
}

// coupon: every user asks once for one unit of the same coupon.
type coupon struct {
	client   *http.Client
	settings Settings
	users    atomic.Int64
}

func (c *coupon) Name() string                  { return "coupon" }
func (c *coupon) Prepare(context.Context) error { return nil }

func (c *coupon) ThinkTime() (shortest, longest time.Duration) {
	return 500 * time.Millisecond, 2 * time.Second
}

func (c *coupon) Request(ctx context.Context) Outcome {
	user := c.settings.UserBase + c.users.Add(1)
	url := fmt.Sprintf("%s/coupons/%d/issue", c.settings.BaseURL, c.settings.CouponID)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return Outcome{KindError, "bad URL"}
	}
	request.Header.Set("userId", strconv.FormatInt(user, 10))
	var answer struct {
		UserID    int64  `json:"userId"`
		CouponID  int64  `json:"couponId"`
		RequestID string `json:"requestId"`
		Status    string `json:"status"`
	}
	switch code := exchange(c.client, request, &answer); code {
	case "":
	case "400 CP101":
		return Outcome{KindSoldOut, code}
	case "409 CP102":
		return Outcome{KindDuplicate, code}
	default:
		return Outcome{KindError, code}
	}
	if answer.UserID != user || answer.CouponID != c.settings.CouponID ||
		answer.Status != "QUEUED" || !uuid.MatchString(answer.RequestID) {
		return Outcome{KindError, "200 that promises something else"}
	}
	return Outcome{KindAccepted, "200 QUEUED"}
}

func (c *coupon) Judge(_ context.Context, report *Report) {
	report.Require("p95_ms < 300", report.Latency.P95 < 300, report.Latency.P95)
	report.Require("error_rate < 0.1", report.ErrorRate < 0.1, report.ErrorRate)
	report.Require("requests_per_second > 50", report.RequestsPerSecond > 50, report.RequestsPerSecond)
	accepted := report.Outcomes[KindAccepted].Count
	if c.settings.Stock > 0 {
		report.Require(fmt.Sprintf("accepted == %d", c.settings.Stock), accepted == c.settings.Stock, float64(accepted))
	} else {
		report.Require("accepted > 0", accepted > 0, float64(accepted))
		report.Note("without -stock the run cannot tell a true \"sold out\" from a false one")
	}
	report.Note("what was promised is proven by the rows in the database, not by this file")
}

// products: 80 % of the reads go to 20 of the 100 sample products.
type products struct {
	client   *http.Client
	settings Settings
	before   cacheReads
}

type cacheReads struct{ hits, misses float64 }

func (p *products) Name() string { return "popular-products" }

func (p *products) ThinkTime() (shortest, longest time.Duration) {
	return time.Second, 3 * time.Second
}

func (p *products) Prepare(ctx context.Context) error {
	if p.settings.AdminURL == "" {
		return nil
	}
	var err error
	p.before, err = p.readCache(ctx)
	return err
}

func (p *products) Request(ctx context.Context) Outcome {
	id := int64(1 + rand.IntN(20))
	if rand.Float64() >= 0.8 {
		id = int64(21 + rand.IntN(80))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("%s/products/%d", p.settings.BaseURL, id), nil)
	if err != nil {
		return Outcome{KindError, "bad URL"}
	}
	var answer struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	if code := exchange(p.client, request, &answer); code != "" {
		return Outcome{KindError, code}
	}
	if answer.ID != id || answer.Name != fmt.Sprintf("부하테스트상품_%d", id) {
		return Outcome{KindError, "200 with another product"}
	}
	return Outcome{KindAccepted, "200"}
}

func (p *products) Judge(ctx context.Context, report *Report) {
	report.Require("p50_ms < 50", report.Latency.P50 < 50, report.Latency.P50)
	report.Require("p95_ms < 200", report.Latency.P95 < 200, report.Latency.P95)
	report.Require("p99_ms < 500", report.Latency.P99 < 500, report.Latency.P99)
	report.Require("error_rate < 0.05", report.ErrorRate < 0.05, report.ErrorRate)
	if p.settings.Think && p.settings.Rate == 0 {
		report.Note("the rule of more than 100 req/s belongs to the variant without think time (-think=false): with it these stages average about 62")
	} else {
		report.Require("requests_per_second > 100", report.RequestsPerSecond > 100, report.RequestsPerSecond)
	}
	if p.settings.AdminURL == "" {
		report.Note("the cache hit rate was not measured: -admin-url is empty")
		return
	}
	after, err := p.readCache(ctx)
	if err != nil {
		report.Note("the cache hit rate could not be measured: " + err.Error())
		report.Require("cache_hit_rate > 0.8", false, 0)
		return
	}
	hits, misses := after.hits-p.before.hits, after.misses-p.before.misses
	rate := 0.0
	if hits+misses > 0 {
		rate = hits / (hits + misses)
	}
	report.Require("cache_hit_rate > 0.8", rate > 0.8, rate)
}

func (p *products) readCache(ctx context.Context) (cacheReads, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.settings.AdminURL+"/metrics", nil)
	if err != nil {
		return cacheReads{}, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return cacheReads{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxMetricsBytes))
	if err != nil {
		return cacheReads{}, err
	}
	if response.StatusCode != http.StatusOK {
		return cacheReads{}, fmt.Errorf("%s/metrics answered %s", p.settings.AdminURL, response.Status)
	}
	const name = "product_cache_requests_total"
	hits, hasHits := Counter(body, name, `level="l1"`, `result="hit"`)
	misses, hasMisses := Counter(body, name, `level="l1"`, `result="miss"`)
	if !hasHits && !hasMisses {
		return cacheReads{}, fmt.Errorf("%s/metrics has no %s", p.settings.AdminURL, name)
	}
	return cacheReads{hits, misses}, nil
}

// Counter sums the series of a Prometheus counter that have all of the labels.
func Counter(exposition []byte, name string, labels ...string) (sum float64, found bool) {
	for line := range bytes.Lines(exposition) {
		rest, ok := strings.CutPrefix(string(line), name+"{")
		if !ok {
			continue
		}
		close := strings.LastIndexByte(rest, '}')
		if close < 0 {
			continue
		}
		// Labels of ours hold no commas.
		has := map[string]bool{}
		for label := range strings.SplitSeq(rest[:close], ",") {
			has[strings.TrimSpace(label)] = true
		}
		matches := true
		for _, label := range labels {
			matches = matches && has[label]
		}
		fields := strings.Fields(rest[close+1:])
		if !matches || len(fields) == 0 {
			continue
		}
		if value, err := strconv.ParseFloat(fields[0], 64); err == nil {
			sum, found = sum+value, true
		}
	}
	return sum, found
}
