package obs

import "github.com/prometheus/client_golang/prometheus"

// edgeMetrics count what copies of products do.
type edgeMetrics struct {
	answered, counted, lost prometheus.Counter
}

func newEdgeMetrics(registry *prometheus.Registry) edgeMetrics {
	m := edgeMetrics{
		answered: prometheus.NewCounter(prometheus.CounterOpts{Name: "edge_answers_total", Help: "Reads of products answered from copies in the gateway."}),
		counted:  prometheus.NewCounter(prometheus.CounterOpts{Name: "edge_views_counted_total", Help: "Views of copies that the server has counted."}),
		lost:     prometheus.NewCounter(prometheus.CounterOpts{Name: "edge_views_lost_total", Help: "Views of copies of which it is not known whether the server has counted them."}),
	}
	registry.MustRegister(m.answered, m.counted, m.lost)
	return m
}

// WatchEdge shows how many copies there are. To be called once.
func (m *Metrics) WatchEdge(products func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "edge_products", Help: "Products of which there are copies.",
	}, func() float64 { return float64(products()) }))
}

// EdgeAnswered counts a read that was answered from a copy.
func (m *Metrics) EdgeAnswered() { m.edge.answered.Inc() }

// EdgeViewsCounted counts views that the server has counted.
func (m *Metrics) EdgeViewsCounted(views int64) { m.edge.counted.Add(float64(views)) }

// EdgeViewsLost counts views that may not have been counted.
func (m *Metrics) EdgeViewsLost(views int64) { m.edge.lost.Add(float64(views)) }
