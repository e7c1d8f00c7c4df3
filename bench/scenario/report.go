package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"ecom/bench/latency"
)

// A Kind is how a request ended. A refusal is a correct answer, and a cheaper one than an
// acceptance: each kind has its own latencies.
type Kind string

// The kinds of outcome.
const (
	KindAccepted  Kind = "accepted"
	KindSoldOut   Kind = "sold_out"
	KindDuplicate Kind = "duplicate"
	KindError     Kind = "error"
)

// An Outcome is the kind and what exactly came back.
type Outcome struct {
	Kind Kind
	Code string
}

// A Recorder collects outcomes. Thread-safe. It keeps every latency (8 bytes each): with the rates
// and durations that the flags allow, below 50 MB.
type Recorder struct {
	mu        sync.Mutex
	latencies map[Kind][]time.Duration
	codes     map[string]int64
}

// NewRecorder returns an empty Recorder.
func NewRecorder() *Recorder {
	return &Recorder{latencies: map[Kind][]time.Duration{}, codes: map[string]int64{}}
}

// Add records one request.
func (r *Recorder) Add(outcome Outcome, latency time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latencies[outcome.Kind] = append(r.latencies[outcome.Kind], latency)
	r.codes[outcome.Code]++
}

// A Figure is what one kind of outcome amounted to.
type Figure struct {
	Count int64 `json:"count"`
	latency.Distribution
}

// A Threshold is a rule and whether it held.
type Threshold struct {
	Rule  string  `json:"rule"`
	Value float64 `json:"value"`
	OK    bool    `json:"ok"`
}

// A Report is the summary of a run, as its file holds it.
type Report struct {
	Scenario          string               `json:"scenario"`
	Generator         string               `json:"generator"`
	Variant           string               `json:"variant"`
	BaseURL           string               `json:"base_url"`
	Seconds           float64              `json:"seconds"`
	Requests          int64                `json:"requests"`
	Dropped           int64                `json:"dropped"`
	RequestsPerSecond float64              `json:"requests_per_second"`
	ErrorRate         float64              `json:"error_rate"`
	Latency           latency.Distribution `json:"latency"`
	Outcomes          map[Kind]Figure      `json:"outcomes"`
	Codes             map[string]int64     `json:"codes"`
	Thresholds        []Threshold          `json:"thresholds"`
	Notes             []string             `json:"notes"`
}

// Report sums up what was recorded.
func (r *Recorder) Report(name string, settings Settings, elapsed time.Duration, dropped int64) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := &Report{
		Scenario: name, Generator: "ecom-scenario", Variant: variant(settings), BaseURL: settings.BaseURL,
		Seconds: elapsed.Seconds(), Dropped: dropped, Outcomes: map[Kind]Figure{}, Codes: maps.Clone(r.codes),
		Notes: []string{},
	}
	var all []time.Duration
	for _, kind := range []Kind{KindAccepted, KindSoldOut, KindDuplicate, KindError} {
		latencies := r.latencies[kind]
		report.Outcomes[kind] = Figure{int64(len(latencies)), latency.Of(latencies)}
		all = append(all, latencies...)
	}
	report.Requests = int64(len(all))
	report.Latency = latency.Of(all)
	report.RequestsPerSecond = float64(report.Requests) / elapsed.Seconds()
	if report.Requests > 0 {
		report.ErrorRate = float64(report.Outcomes[KindError].Count) / float64(report.Requests)
	}
	report.Require("requests > 0", report.Requests > 0, float64(report.Requests))
	if settings.Rate > 0 {
		report.Require("dropped == 0", dropped == 0, float64(dropped))
	}
	return report
}

func variant(settings Settings) string {
	name := "think time"
	switch {
	case settings.Rate > 0:
		name = fmt.Sprintf("open model, %d req/s", settings.Rate)
	case !settings.Think:
		name = "no think time"
	}
	if settings.Short {
		name += ", short"
	}
	return name
}

// Require adds a threshold.
func (r *Report) Require(rule string, ok bool, value float64) {
	r.Thresholds = append(r.Thresholds, Threshold{rule, value, ok})
}

// Note adds a sentence that a reader of the figures needs.
func (r *Report) Note(note string) { r.Notes = append(r.Notes, note) }

// Failed says whether a threshold did not hold.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Thresholds, func(t Threshold) bool { return !t.OK })
}

// Print writes the report for a person.
func (r *Report) Print(out io.Writer) {
	fmt.Fprintf(out, "%s (%s), %.1f s, %d requests, %.1f req/s\n", r.Scenario, r.Variant, r.Seconds, r.Requests, r.RequestsPerSecond)
	for _, kind := range []Kind{KindAccepted, KindSoldOut, KindDuplicate, KindError} {
		if figure := r.Outcomes[kind]; figure.Count > 0 {
			fmt.Fprintf(out, "  %-10s %8d  avg %.3f  p50 %.3f  p95 %.3f  p99 %.3f  p99.9 %.3f  max %.3f ms\n", kind, figure.Count,
				figure.Avg, figure.P50, figure.P95, figure.P99, figure.P999, figure.Max)
		}
	}
	codes := slices.SortedFunc(maps.Keys(r.Codes), func(a, b string) int { return cmp.Compare(r.Codes[b], r.Codes[a]) })
	for _, code := range codes {
		fmt.Fprintf(out, "  %8d × %s\n", r.Codes[code], code)
	}
	for _, t := range r.Thresholds {
		verdict := "ok    "
		if !t.OK {
			verdict = "FAILED"
		}
		fmt.Fprintf(out, "  %s %s (%.3f)\n", verdict, t.Rule, t.Value)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(out, "  note:", note)
	}
}
