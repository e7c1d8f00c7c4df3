package obs

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"time"
)

// Build says what runs.
type Build struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Commit  string    `json:"commit"`
	Go      string    `json:"go"`
	Started time.Time `json:"started"`
	Digest  string    `json:"config_digest"`
}

// NewBuild describes this process, which starts now, with settings of this digest.
func NewBuild(version, commit, digest string) Build {
	return Build{"ecom-gateway", version, commit, runtime.Version(), time.Now().UTC().Truncate(time.Millisecond), digest}
}

// Readiness says why the process should get no requests; empty: it should.
type Readiness func(context.Context) (reason string)

// NewAdmin serves health, build, metrics and the level of the log, under the names of the contract and
// those that tools made for Spring Boot ask for.
func NewAdmin(build Build, metrics *Metrics, ready Readiness, level *slog.LevelVar) http.Handler {
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
	mux.HandleFunc("GET /actuator/loggers/ROOT", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, logger{level.Level(), level.Level()})
	})
	mux.HandleFunc("POST /actuator/loggers/ROOT", func(w http.ResponseWriter, r *http.Request) {
		var wanted struct {
			Level *slog.Level `json:"configuredLevel"`
		}
		body := http.MaxBytesReader(w, r.Body, loggerBytesMax)
		if err := json.NewDecoder(body).Decode(&wanted); err != nil || wanted.Level == nil || !slices.Contains(levels, *wanted.Level) {
			writeJSON(w, http.StatusBadRequest, problem{"CM400", "잘못된 요청입니다."})
			return
		}
		level.Set(*wanted.Level)
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// loggerBytesMax is far above what names a level.
const loggerBytesMax = 1 << 10

var levels = []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

type logger struct {
	Configured slog.Level `json:"configuredLevel"`
	Effective  slog.Level `json:"effectiveLevel"`
}

type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
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
