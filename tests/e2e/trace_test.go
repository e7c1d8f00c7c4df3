package e2e

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"ecom/tests/stack"
)

// traceWithin is how long a span and a log line may take: both wait for company first.
const traceWithin = 10 * time.Second

// A collector keeps the spans that it gets by OTLP over HTTP.
type collector struct {
	url   string
	mu    sync.Mutex
	spans []*tracev1.Span
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collectorv1.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &request) != nil {
			http.Error(w, "no spans", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// await returns the one span of a trace.
func (c *collector) await(t *testing.T, traceID string) *tracev1.Span {
	t.Helper()
	var found []*tracev1.Span
	if !stack.Until(traceWithin, func() bool { found = c.of(traceID); return len(found) > 0 }) || len(found) != 1 {
		t.Fatalf("%d spans of trace %s", len(found), traceID)
	}
	return found[0]
}

func (c *collector) of(traceID string) (spans []*tracev1.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		if hex.EncodeToString(span.GetTraceId()) == traceID {
			spans = append(spans, span)
		}
	}
	return spans
}

func httpStatus(span *tracev1.Span) int64 {
	for _, a := range span.GetAttributes() {
		if a.GetKey() == "http.response.status_code" {
			return a.GetValue().GetIntValue()
		}
	}
	return 0
}

func TestATraceIsFollowedFromTheCallerToTheRecordersLine(t *testing.T) {
	t.Parallel()
	for name, install := range map[string]func(*testing.T, string, ...string) *stack.Stack{
		"embedded": stack.New,
		"stack": func(t *testing.T, dataDir string, settings ...string) *stack.Stack {
			s := stack.NewReal(t, dataDir, settings...)
			s.Up()
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spans := startCollector(t)
			s := install(t, stack.DataDir(t), "OTEL_EXPORTER_OTLP_ENDPOINT="+spans.url, "OTEL_BSP_SCHEDULE_DELAY=50",
				"ECOM_UPSTREAM_TIMEOUT=2s")
			follow(t, s, s.Start(), spans)
		})
	}
}

func follow(t *testing.T, s *stack.Stack, program *stack.Program, spans *collector) {
	const (
		notSampled  = "11111111111111111111111111111111"
		sampled     = "4bf92f3577b34da6a3ce929d0e0e4736"
		unanswered  = "22222222222222222222222222222222"
		callersSpan = "00f067aa0ba902b7"
	)
	send(t, s.HTTP, "POST", "/coupons/1/issue", "userId: 701", "traceparent: 00-"+notSampled+"-"+callersSpan+"-00")
	response := send(t, s.HTTP, "POST", "/coupons/1/issue", "userId: 702", "traceparent: 00-"+sampled+"-"+callersSpan+"-01")
	requestID := regexp.MustCompile(`"requestId":"([^"]+)"`).FindStringSubmatch(string(response.Body))
	if response.Status != http.StatusOK || requestID == nil {
		t.Fatalf("%d %s", response.Status, response.Body)
	}

	span := spans.await(t, sampled)
	if span.GetName() != "POST /coupons/{couponId}/issue" || span.GetKind() != tracev1.Span_SPAN_KIND_SERVER ||
		hex.EncodeToString(span.GetParentSpanId()) != callersSpan || httpStatus(span) != http.StatusOK ||
		span.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_UNSET {
		t.Errorf("the collector got %v", span)
	}

	const text = "a traced claim was recorded"
	if !stack.Until(traceWithin, func() bool { return strings.Contains(program.Output(), text) }) {
		t.Fatal("no line of the recorder")
	}
	for line := range strings.Lines(program.Output()) {
		if !strings.Contains(line, text) {
			continue
		}
		for _, want := range []string{
			"result=issued", "request_id=" + requestID[1], "trace_id=" + sampled, "span_id=" + hex.EncodeToString(span.GetSpanId()),
		} {
			if !strings.Contains(line, want) {
				t.Errorf("no %s in %s", want, line)
			}
		}
	}

	s.Freeze("ecom-server")
	response = send(t, s.HTTP, "GET", "/coupons/1/issue", "userId: 702", "traceparent: 00-"+unanswered+"-"+callersSpan+"-01")
	s.Thaw("ecom-server")
	failed := spans.await(t, unanswered)
	if response.Status != http.StatusGatewayTimeout || httpStatus(failed) != http.StatusGatewayTimeout ||
		failed.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("answered %d; the collector got %v", response.Status, failed)
	}
	if of := spans.of(notSampled); len(of) > 0 {
		t.Errorf("what was not sampled was sent: %v", of)
	}
}
