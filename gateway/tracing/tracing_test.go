package tracing

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"ecom/gateway/internal/wait"
)

// patience is far above what any wait here takes.
const patience = 20 * time.Second

type counts struct{ sent, failed, dropped atomic.Int64 }

func (c *counts) SpansSent(spans int)   { c.sent.Add(int64(spans)) }
func (c *counts) SpansFailed(spans int) { c.failed.Add(int64(spans)) }
func (c *counts) SpanDropped()          { c.dropped.Add(1) }

// lockedLog can be read while others write.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func end(t *Traces, spans int) {
	for range spans {
		_, span := t.Tracer().Start(context.Background(), "GET /")
		span.End()
	}
}

func TestSpansComeToTheCollectorWithTheServicesName(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "1")
	bodies := make(chan []byte, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/base/v1/traces" {
			t.Errorf("%s, %v", r.URL.Path, err)
		}
		bodies <- body
	}))
	defer server.Close()
	var seen counts
	traces, err := New(Usual(server.URL+"/base/", "ecom-gateway", "1.2", &seen, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	end(traces, 3)
	traces.Close()
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(<-bodies, &request); err != nil {
		t.Fatal(err)
	}
	resource := request.GetResourceSpans()[0]
	if spans := resource.GetScopeSpans()[0].GetSpans(); len(spans) != 3 || spans[0].GetName() != "GET /" {
		t.Errorf("got %v", spans)
	}
	service := map[string]string{}
	for _, a := range resource.GetResource().GetAttributes() {
		service[a.GetKey()] = a.GetValue().GetStringValue()
	}
	if service["service.name"] != "ecom-gateway" || service["service.version"] != "1.2" {
		t.Errorf("of %v", service)
	}
	if seen.sent.Load() != 3 {
		t.Errorf("%d spans counted", seen.sent.Load())
	}
}

func TestTheEnvironmentSaysWhatIsSampled(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
	traces, err := New(Usual("http://127.0.0.1:0", "ecom-gateway", "1", &counts{}, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer traces.Close()
	if _, span := traces.Tracer().Start(context.Background(), "GET /"); span.IsRecording() {
		t.Error("recorded")
	}
}

// A gate is an exporter that waits until it is told what to return.
type gate struct {
	entered chan struct{}
	answers chan error
}

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan error)} }

func (g *gate) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	g.entered <- struct{}{}
	select {
	case err := <-g.answers:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) Shutdown(context.Context) error { return nil }

func newTraces(g *gate, observe Observer, log *slog.Logger, spansMax int) *Traces {
	queue := newQueue(g, Options{SpansMax: spansMax, Observe: observe, Log: log})
	return &Traces{sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(queue)), queue, log}
}

func TestACollectorThatStandsStillHoldsUpNoRequestAndWhatItMissesIsCounted(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
	const spansMax, more = 100, 50
	g := newGate()
	var seen counts
	traces := newTraces(g, &seen, slog.New(slog.DiscardHandler), spansMax)
	end(traces, 10)
	<-g.entered // it has a batch, and says nothing
	end(traces, spansMax-10+more)
	if dropped := seen.dropped.Load(); dropped != more {
		t.Errorf("%d spans dropped, want %d", dropped, more)
	}
	go func() {
		for range spansMax / 10 {
			g.answers <- nil
		}
	}()
	wait.Until(t, "room", func() bool { return seen.sent.Load() == spansMax })
	end(traces, 1)
	if dropped := seen.dropped.Load(); dropped != more {
		t.Errorf("%d spans dropped though there was room", dropped-more)
	}
}

func TestACollectorThatIsAwayIsLoggedOnceAndItsReturnToo(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
	var logged lockedLog
	g := newGate()
	var seen counts
	traces := newTraces(g, &seen, slog.New(slog.NewTextHandler(&logged, nil)), 100)
	for _, err := range []error{errors.New("refused"), errors.New("refused"), nil, nil} {
		end(traces, 10)
		g.answers <- err
	}
	wait.Until(t, "fourth batch", func() bool { return seen.sent.Load() == 20 })
	if seen.failed.Load() != 20 || logged.count("level=WARN") != 1 || logged.count("refused") != 1 || logged.count("takes spans again") != 1 {
		t.Errorf("%d failed; logged %s", seen.failed.Load(), logged.text.String())
	}
}

func TestCloseGivesUpOnACollectorThatDoesNotAnswerAndTellsWhatIsLost(t *testing.T) {
	var logged lockedLog
	traces := newTraces(newGate(), &counts{}, slog.New(slog.NewTextHandler(&logged, nil)), 100)
	end(traces, 7)
	began := time.Now()
	traces.Close()
	if took := time.Since(began); took > closeTimeout+patience/2 {
		t.Errorf("took %v", took)
	}
	if logged.count("spans=7") != 1 {
		t.Errorf("logged %s", logged.text.String())
	}
}
