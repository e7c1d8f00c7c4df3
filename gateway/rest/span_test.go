package rest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"ecom/gateway/lane"
)

// lastTerms is a server that is away, and remembers what came with the last call.
type lastTerms struct{ lane.Terms }

func (l *lastTerms) Call(_ context.Context, terms lane.Terms, _ string, _, _ proto.Message) (begun bool, err error) {
	l.Terms = terms
	return false, status.Error(codes.Unavailable, "")
}

// traced answers one request, and returns its span and what the server got.
func traced(t *testing.T, sampler sdktrace.Sampler, method, path string, headers ...string) (spans []sdktrace.ReadOnlySpan, got lane.Terms, id string) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	var server lastTerms
	h, err := New(Options{
		Zone: time.UTC, UpstreamTimeout: time.Minute, InFlightMax: 10, BodyBytesMax: 10, Observe: ignored{}, Log: slog.New(slog.DiscardHandler),
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithSampler(sampler)).Tracer(""),
	}, &server)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, path, nil)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return recorder.Ended(), server.Terms, w.Header().Get("X-Request-Id")
}

func TestARequestIsASpanOfTheCallersTraceAndTheServerGoesOnFromIt(t *testing.T) {
	const traceID, callersSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, flags := range []string{"01", "03"} {
		spans, server, id := traced(t, sdktrace.ParentBased(sdktrace.NeverSample()),
			"POST", "/coupons/1/issue", "userId: 1", "traceparent: 00-"+traceID+"-"+callersSpan+"-"+flags)
		if len(spans) != 1 {
			t.Fatalf("flags %s: %d spans", flags, len(spans))
		}
		span := spans[0]
		if span.Name() != "POST /coupons/{couponId}/issue" || span.SpanKind() != trace.SpanKindServer ||
			span.SpanContext().TraceID().String() != traceID || span.Parent().SpanID().String() != callersSpan {
			t.Errorf("flags %s: %v", flags, span)
		}
		if want := "00-" + traceID + "-" + span.SpanContext().SpanID().String() + "-" + flags; server.TraceParent != want {
			t.Errorf("flags %s: the server got %q, want %q", flags, server.TraceParent, want)
		}
		for _, want := range []attribute.KeyValue{
			attribute.String("http.request.method", "POST"), attribute.String("http.route", "/coupons/{couponId}/issue"),
			attribute.String("url.path", "/coupons/1/issue"), attribute.String("url.scheme", "http"),
			attribute.Int("http.response.status_code", 503), attribute.String("error.type", "503"),
			attribute.StringSlice("http.response.header.x-request-id", []string{id}),
		} {
			if !slices.Contains(span.Attributes(), want) {
				t.Errorf("lacks %v among %v", want, span.Attributes())
			}
		}
		if span.Status().Code != otelcodes.Error {
			t.Errorf("status %v", span.Status())
		}
	}
}

func TestARequestThatIsRefusedIsASpanToo(t *testing.T) {
	for _, c := range []struct {
		method, path, name, attribute string
		status                        int
	}{
		{"GET", "/no%ffwhere", "GET", "/no%ffwhere", 404},
		{"BREW", "/products/1", "HTTP /products/{productId}", "BREW", 405},
		{"GET", "/products/x", "GET /products/{productId}", "/products/{productId}", 400},
	} {
		spans, _, _ := traced(t, sdktrace.AlwaysSample(), c.method, c.path)
		if len(spans) != 1 {
			t.Fatalf("%s %s: %d spans", c.method, c.path, len(spans))
		}
		values := map[string]bool{}
		for _, a := range spans[0].Attributes() {
			values[a.Value.String()] = true
		}
		if spans[0].Name() != c.name || !values[c.attribute] || spans[0].Parent().IsValid() ||
			!slices.Contains(spans[0].Attributes(), attribute.Int("http.response.status_code", c.status)) {
			t.Errorf("%s %s: %q %v", c.method, c.path, spans[0].Name(), spans[0].Attributes())
		}
		if spans[0].Status().Code == otelcodes.Error {
			t.Errorf("%s %s: what a client did wrong is an error of the server", c.method, c.path)
		}
	}
}

func TestWhatIsNotSampledGoesOnAsNotSampled(t *testing.T) {
	spans, server, _ := traced(t, sdktrace.ParentBased(sdktrace.AlwaysSample()),
		"GET", "/products/1", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	if len(spans) != 0 || !validTraceparent(server.TraceParent) ||
		!strings.HasPrefix(server.TraceParent, "00-4bf92f3577b34da6a3ce929d0e0e4736-") || !strings.HasSuffix(server.TraceParent, "-00") {
		t.Errorf("%d spans; the server got %q", len(spans), server.TraceParent)
	}
}
