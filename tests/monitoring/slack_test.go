package monitoring

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ecom/tests/stack"
)

const (
	firing   = "FIRING"
	resolved = "RESOLVED"

	webhookToken = "of-the-webhook"
)

// message is what a person would see in the channel.
type message struct {
	at     time.Time
	status string // firing or resolved
	alert  string
}

// slack takes what Alertmanager sends to Slack and to the webhook, and keeps it.
type slack struct {
	*httptest.Server

	mu       sync.Mutex
	messages []message
	webhook  map[string]bool // by alert
	wrong    []string
}

func newSlack(t *testing.T) *slack {
	t.Helper()
	s := &slack{webhook: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /slack", s.takeSlack)
	mux.HandleFunc("POST /webhook", s.takeWebhook)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, wrong := range s.wrong {
			t.Error(wrong)
		}
	})
	return s
}

func (s *slack) takeSlack(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Attachments []struct {
			Title     string
			TitleLink string `json:"title_link"`
			Text      string
		}
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || len(body.Attachments) != 1 {
		s.wrong = append(s.wrong, fmt.Sprintf("no Slack message: %v, %+v", err, body))
		return
	}
	a := body.Attachments[0]
	// As alertmanager.yml has it: STATUS Alert (severity).
	var m message
	if _, err := fmt.Sscanf(a.Title, "%s %s", &m.status, &m.alert); err != nil {
		s.wrong = append(s.wrong, fmt.Sprintf("title %q: %v", a.Title, err))
	}
	if want := "docs/runbook/" + m.alert + ".md"; a.TitleLink != want || !strings.Contains(a.Text, want) || len(a.Text) < 2*len(want) {
		s.wrong = append(s.wrong, fmt.Sprintf("%s does not say what users feel and what to do: %q, %q", a.Title, a.TitleLink, a.Text))
	}
	m.at = time.Now()
	s.messages = append(s.messages, m)
	fmt.Fprint(w, "ok")
}

func (s *slack) takeWebhook(_ http.ResponseWriter, r *http.Request) {
	var body struct{ CommonLabels map[string]string }
	err := json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if authorization := r.Header.Get("Authorization"); err != nil || authorization != "Bearer "+webhookToken {
		s.wrong = append(s.wrong, fmt.Sprintf("webhook: %v, authorization %q", err, authorization))
		return
	}
	s.webhook[body.CommonLabels["alertname"]] = true
}

// await waits for the first message of this kind that came after the moment, and tells when it came.
func (s *slack) await(alert, status string, after time.Time, within time.Duration) (at time.Time, ok bool) {
	ok = stack.Until(within, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range s.messages {
			if m.alert == alert && m.status == status && m.at.After(after) {
				at = m.at
				return true
			}
		}
		return false
	})
	return at, ok
}

// awaitQuiet waits until the alert does not fire, in which an earlier fault may have had a part.
func (s *slack) awaitQuiet(alert string, within time.Duration) bool {
	return stack.Until(within, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		status := resolved
		for _, m := range s.messages {
			if m.alert == alert {
				status = m.status
			}
		}
		return status == resolved
	})
}

func (s *slack) webhookTold(alert string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.webhook[alert]
}

func (s *slack) titles() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var titles []string
	for _, m := range s.messages {
		titles = append(titles, m.status+" "+m.alert)
	}
	return titles
}
