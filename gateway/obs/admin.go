package obs

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime"
	"time"
)

// Build says what runs.
type Build struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Commit  string    `json:"commit"`
	Go      string    `json:"go"`
	Started time.Time `json:"started"`
}

// NewBuild describes this process, which starts now.
func NewBuild(version, commit string) Build {
	return Build{"ecom-gateway", version, commit, runtime.Version(), time.Now().UTC().Truncate(time.Millisecond)}
}

// Readiness says why the process should get no requests; empty: it should.
type Readiness func(context.Context) (reason string)

// NewAdmin serves health, build and metrics, under the names of the contract and those that tools
// made for Spring Boot ask for.
func NewAdmin(build Build, metrics *Metrics, ready Readiness) http.Handler {
	live := func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, health{Status: "UP"}) }
	isReady := func(w http.ResponseWriter, r *http.Request) {
		if reason := ready(r.Context()); reason != "" {
			writeJSON(w, http.StatusServiceUnavailable, health{"DOWN", reason})
			return
		}
		writeJSON(w, http.StatusOK, health{Status: "UP"})
	}
	info := func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, build) }

	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/live", live)
	mux.HandleFunc("GET /health/ready", isReady)
	mux.HandleFunc("GET /info", info)
	mux.Handle("GET /metrics", metrics.handler())
	mux.HandleFunc("GET /actuator/health", isReady)
	mux.HandleFunc("GET /actuator/health/liveness", live)
	mux.HandleFunc("GET /actuator/health/readiness", isReady)
	mux.HandleFunc("GET /actuator/info", info)
	mux.Handle("GET /actuator/prometheus", metrics.handler())
	return mux
}

type health struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // plain structs; only a client that left makes this fail
}
