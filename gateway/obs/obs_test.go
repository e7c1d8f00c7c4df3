package obs

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/grpclog"
)

func TestTheLogIsJSONUnlessItGoesToATerminal(t *testing.T) {
	for format, wantJSON := range map[string]bool{"auto": true, "json": true, "text": false} {
		var out bytes.Buffer
		NewLog(&out, format, slog.LevelInfo).Info("hello", "n", 1)
		var line map[string]any
		err := json.Unmarshal(out.Bytes(), &line)
		if wantJSON && (line["level"] != "info" || line["message"] != "hello") {
			t.Errorf("%s: %s", format, out.String())
		}
		if (err == nil) != wantJSON || !strings.Contains(out.String(), "hello") || !strings.Contains(out.String(), "gateway") {
			t.Errorf("%s: %s", format, out.String())
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) {
		t.Error("the null device is taken for a terminal")
	}
}

func TestTheLevelHoldsForUsAndForTheLibraries(t *testing.T) {
	var out bytes.Buffer
	log := NewLog(&out, "text", slog.LevelWarn)
	log.Info("quiet")
	grpclog.Info("quiet")
	grpclog.Error("from a library")
	log.Warn("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") || strings.Count(got, "from a library") != 1 {
		t.Errorf("logged %s", got)
	}
}

func TestReadyAndLiveAreToldApart(t *testing.T) {
	reason := ""
	admin := NewAdmin(NewBuild("1", "c", "d"), NewMetrics(NewBuild("1", "c", "d")), func(context.Context) string { return reason }, new(slog.LevelVar))
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	for _, r := range []string{"", "draining"} {
		reason = r
		status, body := 200, `{"status":"UP"}`
		for _, path := range []string{"/health/live", "/actuator/health/liveness"} {
			if gotStatus, got := ask(path); gotStatus != status || got != body {
				t.Errorf("%s: %d %s", path, gotStatus, got)
			}
		}
		if r != "" {
			status, body = 503, `{"status":"DOWN","reason":"draining"}`
		}
		for _, path := range []string{"/health/ready", "/actuator/health", "/actuator/health/readiness"} {
			if gotStatus, got := ask(path); gotStatus != status || got != body {
				t.Errorf("%s: %d %s", path, gotStatus, got)
			}
		}
	}
}

func TestTheLevelOfTheLogIsChangedWhileItIsWrittenTo(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := NewLog(&out, "json", level)
	admin := NewAdmin(NewBuild("1", "c", "d"), NewMetrics(NewBuild("1", "c", "d")), func(context.Context) string { return "" }, level)
	ask := func(method, body string) (int, string) {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest(method, "/actuator/loggers/ROOT", strings.NewReader(body)))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	log.Debug("before")
	if status, body := ask("POST", `{"configuredLevel":"DEBUG"}`); status != 204 || body != "" {
		t.Errorf("%d %s", status, body)
	}
	log.Debug("after")
	if status, body := ask("GET", ""); status != 200 || body != `{"configuredLevel":"DEBUG","effectiveLevel":"DEBUG"}` {
		t.Errorf("%d %s", status, body)
	}
	for _, wrong := range []string{"", "{}", "DEBUG", `{"configuredLevel":"LOUD"}`, `{"configuredLevel":"INFO+1"}`, `{"configuredLevel":3}`} {
		if status, body := ask("POST", wrong); status != 400 || body != `{"code":"CM400","message":"잘못된 요청입니다."}` {
			t.Errorf("%s: %d %s", wrong, status, body)
		}
	}
	log.Debug("still")
	if got := out.String(); strings.Contains(got, "before") || !strings.Contains(got, "after") || !strings.Contains(got, "still") {
		t.Errorf("logged %s", got)
	}
}

func TestClientsCannotMakeUpLabels(t *testing.T) {
	m := NewMetrics(NewBuild("1", "c", "d"))
	for _, method := range []string{"BREW", "get", strings.Repeat("X", 1000)} {
		m.Begin()
		m.End(method, "none", 405, time.Millisecond)
	}
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), `http_requests_total{method="OTHER",route="none",status="405"} 3`) {
		t.Error(w.Body.String())
	}
}
