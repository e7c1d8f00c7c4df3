// Package latency describes how long requests took, in the same way for every load client.
package latency

import (
	"slices"
	"time"
)

// A Distribution describes latencies, in milliseconds. Percentiles are nearest ranks: each is a latency
// that was measured, the smallest that at least this share of all do not exceed.
type Distribution struct {
	Avg  float64 `json:"avg_ms"`
	P50  float64 `json:"p50_ms"`
	P75  float64 `json:"p75_ms"`
	P90  float64 `json:"p90_ms"`
	P95  float64 `json:"p95_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p99_9_ms"`
	Max  float64 `json:"max_ms"`
}

// Of sorts the latencies in place and describes them; all zero when there are none.
func Of(latencies []time.Duration) Distribution {
	if len(latencies) == 0 {
		return Distribution{}
	}
	slices.Sort(latencies)
	var sum time.Duration
	for _, latency := range latencies {
		sum += latency
	}
	at := func(perMille int) float64 {
		rank := (len(latencies)*perMille + 999) / 1000
		return milliseconds(latencies[max(rank, 1)-1])
	}
	return Distribution{
		Avg: milliseconds(sum / time.Duration(len(latencies))),
		P50: at(500), P75: at(750), P90: at(900), P95: at(950), P99: at(990), P999: at(999), Max: at(1000),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
