// Package tracing sends the spans of requests to a collector, by OTLP over HTTP.
package tracing

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Options are where spans go, and how many of them there may be.
type Options struct {
	Endpoint string // the collector's base URL
	Service  string // what the spans are of
	Version  string
	SpansMax int // that wait for the collector; more are dropped
	// ValueCharsMax bounds what is kept of a path, which clients choose.
	ValueCharsMax int
	Observe       Observer
	Log           *slog.Logger
}

// Usual are the bounds: some 8 MiB.
func Usual(endpoint, service, version string, observe Observer, log *slog.Logger) Options {
	return Options{
		Endpoint: endpoint, Service: service, Version: version, SpansMax: 4096, ValueCharsMax: 512,
		Observe: observe, Log: log,
	}
}

// An Observer is told what becomes of spans. Its methods are called from many goroutines and must not block.
type Observer interface {
	SpansSent(spans int)
	SpansFailed(spans int) // the collector did not take them
	SpanDropped()          // too many waited
}

// closeTimeout bounds the wait for a collector that does not answer.
const closeTimeout = 2 * time.Second

// Traces makes spans and sends those that are sampled. Which ones these are, and how they are gathered,
// the SDK reads from the environment: OTEL_TRACES_SAMPLER, OTEL_BSP_SCHEDULE_DELAY and so on.
type Traces struct {
	provider *sdktrace.TracerProvider
	queue    *queue
	log      *slog.Logger
}

// New begins to send spans. It does not wait for the collector.
func New(options Options) (*Traces, error) {
	log := options.Log
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("OpenTelemetry", "error", err) }))
	ctx := context.Background() // nothing here waits
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimRight(options.Endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, err
	}
	service, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName(options.Service), semconv.ServiceVersion(options.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	limits := sdktrace.NewSpanLimits()
	limits.AttributeValueLengthLimit = options.ValueCharsMax
	queue := newQueue(exporter, options)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(queue), sdktrace.WithResource(service), sdktrace.WithRawSpanLimits(limits))
	return &Traces{provider, queue, log}, nil
}

// Tracer makes the spans.
func (t *Traces) Tracer() trace.Tracer { return t.provider.Tracer("ecom/gateway") }

// Close sends what is left, and gives up on what takes too long. To be called after the last span ended.
func (t *Traces) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	if left := t.queue.waiting.Load(); left > 0 {
		t.log.Warn("spans are lost: the collector did not take them before the end", "spans", left, "error", err)
	}
}
