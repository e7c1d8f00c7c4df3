package latency

import (
	"testing"
	"time"
)

func TestDistributionTakesTheNearestRank(t *testing.T) {
	var latencies []time.Duration
	for i := 1000; i >= 1; i-- {
		latencies = append(latencies, time.Duration(i)*time.Millisecond)
	}
	want := Distribution{Avg: 500.5, P50: 500, P75: 750, P90: 900, P95: 950, P99: 990, P999: 999, Max: 1000}
	if got := Of(latencies); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDistributionOfFewIsNeverBelowTheTruth(t *testing.T) {
	if got := Of(nil); got != (Distribution{}) {
		t.Errorf("of nothing: %+v", got)
	}
	got := Of([]time.Duration{2 * time.Millisecond, time.Millisecond})
	if got.P50 != 1 || got.P95 != 2 || got.P999 != 2 || got.Max != 2 {
		t.Errorf("of two: %+v", got)
	}
}
