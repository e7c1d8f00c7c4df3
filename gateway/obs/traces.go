package obs

import "github.com/prometheus/client_golang/prometheus"

// traceMetrics count spans by what became of them.
type traceMetrics struct {
	sent, failed, dropped prometheus.Counter
}

func newTraceMetrics(registry *prometheus.Registry) traceMetrics {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "trace_spans_total", Help: "Spans by what became of them: sent to the collector, failed there, or dropped as too many waited.",
	}, []string{"result"})
	registry.MustRegister(spans)
	return traceMetrics{spans.WithLabelValues("sent"), spans.WithLabelValues("failed"), spans.WithLabelValues("dropped")}
}

// SpansSent counts spans that the collector has taken.
func (m *Metrics) SpansSent(spans int) { m.traces.sent.Add(float64(spans)) }

// SpansFailed counts spans that the collector did not take.
func (m *Metrics) SpansFailed(spans int) { m.traces.failed.Add(float64(spans)) }

// SpanDropped counts a span that found too many others waiting.
func (m *Metrics) SpanDropped() { m.traces.dropped.Inc() }
