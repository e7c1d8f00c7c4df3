package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"ecom/tests/ledger"
)

const (
	promise = `{"invoke_ns":1,"done_ns":2,"user":5,"key":"k","coupon":1,"answer":"QUEUED",` +
		`"request_id":"0f8fad5b-d9cb-469f-a165-70867728950e"}` + "\n"
	kept = `{"coupons":[{"id":1,"total":9,"available":8,"rejections":[],` +
		`"rows":[{"user":5,"request_id":"0f8fad5b-d9cb-469f-a165-70867728950e"}]}]}`
	broken = `{"coupons":[{"id":1,"total":9,"available":9,"rows":[],"rejections":[]}]}`
)

func TestLedgerCommandAnswersWithItsExitCode(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	journal, cut := file("journal", promise), file("cut", promise[:20])
	settings := file("settings", "# a stack\nMYSQL_URL = http://127.0.0.1/x\n")
	good, bad := file("good", kept), file("bad", broken)
	for _, test := range []struct {
		name string
		args []string
		want int
	}{
		{"a kept promise", []string{"check", "--journal", journal, "--state", good}, 0},
		{"a kept promise as JSON", []string{"check", "--journal", journal, "--state", good, "-o", "json"}, 0},
		{"a broken promise", []string{"check", "--journal", journal, "--state", bad}, 1},
		{"a journal cut off", []string{"check", "--journal", cut, "--state", good}, 2},
		{"no such journal", []string{"check", "--journal", dir + "/none", "--state", good}, 2},
		{"no such state", []string{"check", "--journal", journal, "--state", dir + "/none"}, 2},
		{"a state that is a journal", []string{"check", "--journal", journal, "--state", journal}, 2},
		{"no journal named", []string{"check", "--state", good}, 2},
		{"an unknown output", []string{"check", "--journal", journal, "--state", good, "-o", "xml"}, 2},
		{"an unknown flag", []string{"check", "--journal", journal, "--state", good, "--lenient"}, 2},
		{"an argument too many", []string{"check", "--journal", journal, "--state", good, "more"}, 2},
		{"a snapshot of nothing", []string{"snapshot", "embedded", "--data-dir", dir}, 2},
		{"a snapshot of nowhere", []string{"snapshot", "embedded"}, 2},
		{"a snapshot of a stack nowhere", []string{"snapshot", "stack"}, 2},
		{"a snapshot of a stack by a foreign URL", []string{"snapshot", "stack", "--mysql-url", "http://127.0.0.1/x"}, 2},
		{"a snapshot of a stack by settings without one", []string{"snapshot", "stack", "--config", good}, 2},
		{"a snapshot of a stack by settings nowhere", []string{"snapshot", "stack", "--config", dir + "/none"}, 2},
		{"a snapshot of a stack by settings of a foreign URL", []string{"snapshot", "stack", "--config", settings}, 2},
		{"a snapshot of no number", []string{"snapshot", "stack", "--mysql-url", "mysql://a@b/c", "--coupon", "x"}, 2},
		{"no command", nil, 2},
		{"an unknown command", []string{"judge"}, 2},
		{"a cry for help", []string{"--help"}, 0},
		{"a cry for help with check", []string{"check", "--help"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), test.args, &stdout, &stderr); code != test.want {
				t.Fatalf("exit %d, want %d: %s%s", code, test.want, &stdout, &stderr)
			}
			if said := stderr.Len() > 0; said != (test.want == 2) {
				t.Fatalf("stderr: %q", &stderr)
			}
		})
	}
}

func TestLedgerCommandWritesItsVerdictAsJSON(t *testing.T) {
	dir := t.TempDir()
	journal, state := filepath.Join(dir, "journal"), filepath.Join(dir, "state")
	for path, text := range map[string]string{journal: promise, state: broken} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"check", "--journal", journal, "--state", state, "-o", "json"}, &stdout, &stderr)
	var report ledger.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s", err, &stdout)
	}
	if report.OK || report.Lost != 1 || len(report.Defects) != 1 || report.Defects[0].Invariant != "I1" {
		t.Fatalf("%+v", report)
	}
}
