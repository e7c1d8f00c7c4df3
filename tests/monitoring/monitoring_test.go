// Package monitoring fires every alert by the fault that it is for: on real stores, with Prometheus and
// Alertmanager as they are configured in compose/, only faster, and a Slack that keeps what it is told.
// An alert counts when it has arrived there, and its end, too, after the fault has ended.
package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"ecom/tests/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

func TestRulesAndConfigurationsAreValid(t *testing.T) {
	command(t, "promtool", append([]string{"check", "rules"}, files(t, "prometheus/rules/*.yml")...)...)
	command(t, "promtool", append([]string{"check", "config"}, files(t, "prometheus/*.yml")...)...)
	command(t, "promtool", append([]string{"test", "rules"}, files(t, "prometheus/tests/*.yml")...)...)
	command(t, "amtool", append([]string{"check-config"}, files(t, "alertmanager/*.yml")...)...)
}

func TestEachAlertHasATestARunbookAndAFault(t *testing.T) {
	var named []string
	for _, fault := range faults {
		named = append(named, fault.alerts...)
	}
	alerts := alertNames(t)
	for _, alert := range alerts {
		files(t, "prometheus/tests/"+alert+".yml")
		files(t, "../docs/runbook/"+alert+".md")
		if !slices.Contains(named, alert) {
			t.Errorf("no fault fires %s", alert)
		}
	}
	for _, name := range named {
		if !slices.Contains(alerts, name) {
			t.Errorf("there is no alert %s", name)
		}
	}
}

// faults in an order in which none hides the next one.
var faults = []fault{
	{"poison in the log", []string{"DeadLetters"}, poisonLog},
	{"gateway frozen", []string{"TargetDown"}, freezeGateway},
	{"Redis slow", []string{"HttpSlow"}, slowRedis},
	{"Redis kill -9", []string{"HttpErrors", "GateClosed"}, killRedis},
	{"a row changed by hand in MySQL", []string{"GateDrift"}, changeRow},
	{"recorder frozen", []string{"ConsumerStalled", "ConsumerLag"}, freezeRecorder},
	{"recorder goes on", []string{"RowsLate", "QueuedPromiseBurn"}, thawRecorder},
	{"stock taken away by hand in MySQL", []string{"PromiseBroken"}, takeUnits},
}

func TestEachAlertFiresAndEnds(t *testing.T) {
	r := newRig(t)
	for _, fault := range faults {
		for _, alert := range fault.alerts {
			if !r.slack.awaitQuiet(alert, endsWithin) {
				t.Fatalf("%s does not end before %s", alert, fault.name)
			}
		}
		began := time.Now()
		heal := fault.begin(r)
		for _, alert := range fault.alerts {
			arrived, ok := r.slack.await(alert, firing, began, firesWithin)
			if !ok {
				t.Fatalf("%s: %s has not arrived within %v; arrived: %v", fault.name, alert, firesWithin, r.slack.titles())
			}
			r.rows = append(r.rows, row{Alert: alert, Fault: fault.name, PageSeconds: arrived.Sub(began).Seconds()})
		}
		heal()
		r.healed = append(r.healed, slices.Repeat([]time.Time{time.Now()}, len(fault.alerts))...)
	}
	for i := range r.rows {
		row := &r.rows[i]
		ended, ok := r.slack.await(row.Alert, resolved, r.healed[i], endsWithin)
		if !ok {
			t.Errorf("%s has not ended within %v; arrived: %v", row.Alert, endsWithin, r.slack.titles())
			continue
		}
		row.ResolvedSeconds = ended.Sub(r.healed[i]).Seconds()
		if row.Alert != "DeadLetters" && !r.slack.webhookTold(row.Alert) {
			t.Errorf("the webhook was not told of %s", row.Alert)
		}
	}
	r.writeTable()
}

func poisonLog(r *rig) func() {
	record := &kgo.Record{Topic: "coupon-issue", Key: []byte("1"), Value: []byte("garbage")}
	if err := r.kafka.ProduceSync(r.ctx, record).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
	return func() {
		var listed []struct{ Partition, Offset int }
		if err := json.Unmarshal([]byte(r.ecomctl("dlt", "list", "-o", "json")), &listed); err != nil || len(listed) != 1 {
			r.t.Fatalf("%v: %v", err, listed)
		}
		r.ecomctl("dlt", "discard", fmt.Sprint("--partition=", listed[0].Partition), fmt.Sprint("--offset=", listed[0].Offset))
	}
}

func freezeGateway(r *rig) func() {
	r.gateway.Signal(syscall.SIGSTOP)
	return func() { r.gateway.Signal(syscall.SIGCONT) }
}

// slowRedis has every fifth claim wait for more than 0.3 s, and none for as long as the gate's timeout.
func slowRedis(r *rig) func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		pause := 380 * time.Millisecond
		ticker := time.NewTicker(pause + 10*time.Millisecond)
		defer ticker.Stop()
		for {
			_ = r.gate.Do(r.ctx, "CLIENT", "PAUSE", pause.Milliseconds(), "WRITE").Err() // the alert tells
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

func killRedis(r *rig) func() {
	r.s.Kill("redis")
	return func() { r.s.Up("redis") }
}

// changeRow changes a coupon that nobody claims meanwhile, so that nothing but the row explains it.
func changeRow(r *rig) func() {
	r.awaitPromises(1) // the gates are open again
	r.exec("UPDATE coupons SET available_quantity = available_quantity - 1 WHERE id = 2")
	return func() {} // the gate follows the row
}

// takeUnits takes away what the gate is just giving out.
func takeUnits(r *rig) func() {
	r.awaitPromises(1)
	r.exec("UPDATE coupons SET available_quantity = 0 WHERE id = ?", coupon)
	return func() {} // the gate follows the row
}

func freezeRecorder(r *rig) func() {
	r.recorder.Signal(syscall.SIGSTOP)
	r.burst(burstClaims)
	return func() {}
}

// thawRecorder lets the claims that wait grow older than the promise allows first.
func thawRecorder(r *rig) func() {
	r.t.Helper()
	oldEnough := time.Now().Add(promisedWithin + time.Second)
	stack.Until(2*promisedWithin, func() bool { return time.Now().After(oldEnough) })
	r.recorder.Signal(syscall.SIGCONT)
	return func() {}
}

// alertNames reads the names from the rules.
func alertNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, path := range files(t, "prometheus/rules/*.yml") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`).FindAllSubmatch(text, -1) {
			names = append(names, string(match[1]))
		}
	}
	return names
}

// files finds those of compose/ that match, at least one.
func files(t *testing.T, pattern string) []string {
	t.Helper()
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(root, "compose", pattern))
	if err != nil || len(found) == 0 {
		t.Errorf("there is no %s: %v", pattern, err)
	}
	return found
}

func command(t *testing.T, name string, arguments ...string) {
	t.Helper()
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
}
