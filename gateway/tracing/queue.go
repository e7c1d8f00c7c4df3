package tracing

import (
	"context"
	"log/slog"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A queue bounds the spans that wait for the collector and counts what becomes of each. The SDK's own,
// which is behind it, would drop what is too much, too, but tell nobody.
type queue struct {
	sdktrace.SpanProcessor // has room for all that are let in
	spansMax               int64
	waiting                atomic.Int64
	observe                Observer
}

func newQueue(exporter sdktrace.SpanExporter, options Options) *queue {
	q := &queue{spansMax: int64(options.SpansMax), observe: options.Observe}
	sender := &sender{SpanExporter: exporter, queue: q, log: options.Log}
	q.SpanProcessor = sdktrace.NewBatchSpanProcessor(sender, sdktrace.WithMaxQueueSize(options.SpansMax))
	return q
}

// OnEnd lets a span in if there is room for it. It never blocks.
func (q *queue) OnEnd(span sdktrace.ReadOnlySpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	if q.waiting.Add(1) > q.spansMax {
		q.waiting.Add(-1)
		q.observe.SpanDropped()
		return
	}
	q.SpanProcessor.OnEnd(span)
}

// A sender is the queue's other end. The SDK calls it from one goroutine at a time.
type sender struct {
	sdktrace.SpanExporter
	queue   *queue
	log     *slog.Logger
	failing bool // so that a collector that is away is logged once
}

// ExportSpans tells of failures itself, so it returns none.
func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := s.SpanExporter.ExportSpans(ctx, spans)
	s.queue.waiting.Add(-int64(len(spans)))
	if err == nil {
		s.queue.observe.SpansSent(len(spans))
	} else {
		s.queue.observe.SpansFailed(len(spans))
	}
	switch {
	case err != nil && !s.failing:
		s.log.Warn("spans are lost: the collector does not take them", "error", err)
	case err == nil && s.failing:
		s.log.Info("the collector takes spans again")
	}
	s.failing = err != nil
	return nil
}
