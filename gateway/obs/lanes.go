package obs

import "github.com/prometheus/client_golang/prometheus"

// laneMetrics count frames and the calls in them.
type laneMetrics struct {
	up               prometheus.Gauge
	opened           prometheus.Counter
	sent, received   prometheus.Histogram
	refused, passing prometheus.Counter
}

func newLaneMetrics(registry *prometheus.Registry) laneMetrics {
	sizes := prometheus.ExponentialBuckets(1, 2, 11)
	m := laneMetrics{
		up:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "lanes_up", Help: "Lanes to the server that are open."}),
		opened: prometheus.NewCounter(prometheus.CounterOpts{Name: "lanes_opened_total", Help: "Lanes opened; again after each loss."}),
		sent: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lane_frame_calls", Help: "Calls in a frame to the server.", Buckets: sizes,
		}),
		received: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lane_frame_answers", Help: "Answers in a frame from the server.", Buckets: sizes,
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "lane_calls_refused_total", Help: "Calls refused because their lane was full."}),
		passing: prometheus.NewCounter(prometheus.CounterOpts{Name: "lane_calls_passed_by_total", Help: "Calls sent as unary ones because no lane was up."}),
	}
	registry.MustRegister(m.up, m.opened, m.sent, m.received, m.refused, m.passing)
	return m
}

// WatchLanes shows how many calls wait to be sent. To be called once.
func (m *Metrics) WatchLanes(waiting func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lane_calls_waiting", Help: "Calls that are not in a frame yet.",
	}, func() float64 { return float64(waiting()) }))
}

// LaneUp counts a lane in.
func (m *Metrics) LaneUp() {
	m.lanes.opened.Inc()
	m.lanes.up.Inc()
}

// LaneDown counts a lane out.
func (m *Metrics) LaneDown() { m.lanes.up.Dec() }

// LaneSent counts a frame to the server.
func (m *Metrics) LaneSent(calls int) { m.lanes.sent.Observe(float64(calls)) }

// LaneReceived counts a frame from the server.
func (m *Metrics) LaneReceived(answers int) { m.lanes.received.Observe(float64(answers)) }

// LaneRefused counts a call that its full lane did not take.
func (m *Metrics) LaneRefused() { m.lanes.refused.Inc() }

// LanePassedBy counts a call that went as a unary one.
func (m *Metrics) LanePassedBy() { m.lanes.passing.Inc() }
