// Package containers tests what `make up` starts, in an engine of its own: `make test-containers`.
package containers

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ecom/tests/campaign"
	"ecom/tests/cases"
	"ecom/tests/ledger"
	"ecom/tests/stack"
)

func TestUpStartsContainersThatMayDoLittle(t *testing.T) {
	s := fresh(t)
	var secrets []string
	for _, name := range []string{"mysql-password", "mysql-root-password"} {
		secret, err := os.ReadFile(filepath.Join(s.root, "compose", "secrets", name))
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, string(secret))
	}
	for _, name := range always {
		t.Run(name, func(t *testing.T) {
			found := s.inspect(name)
			if limits := found.HostConfig; !limits.ReadonlyRootfs || limits.Memory == 0 || limits.NanoCpus == 0 || limits.PidsLimit == 0 {
				t.Errorf("not read-only, or without a limit: %+v", limits)
			}
			process := filepath.Join("/proc", strconv.Itoa(found.State.Pid))
			status := read(t, filepath.Join(process, "status"))
			if !regexp.MustCompile(`(?m)^CapEff:\t0+$`).MatchString(status) || !strings.Contains(status, "\nNoNewPrivs:\t1\n") ||
				regexp.MustCompile(`(?m)^Uid:.*\b0\b`).MatchString(status) {
				t.Errorf("may do more than it needs:\n%s", status)
			}
			// Where others could see them: what the engine shows, the environment, the command line.
			seen := s.run("docker", "inspect", name) + read(t, filepath.Join(process, "environ")) + read(t, filepath.Join(process, "cmdline"))
			for _, secret := range secrets {
				if strings.Contains(seen, secret) {
					t.Error("shows a password")
				}
			}
		})
	}
	// It is up as `make up` would have it.
	before := s.run("docker", "ps", "--quiet", "--no-trunc")
	s.run("make", "up")
	if after := s.run("docker", "ps", "--quiet", "--no-trunc"); after != before {
		t.Errorf("make up has made others: %s, and before %s", after, before)
	}
	// The engine keeps such a network apart.
	if internal := strings.TrimSpace(s.run("docker", "network", "inspect", "--format", "{{.Internal}}", "ecom-network")); internal != "true" {
		t.Errorf("ecom-network: internal %s", internal)
	}
	for _, name := range []string{"ecom-mysql", "ecom-redis", "ecom-cache", "ecom-kafka", "ecom-recorder"} {
		format := "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
		if networks := s.run("docker", "inspect", "--format", format, name); strings.TrimSpace(networks) != "ecom-network" {
			t.Errorf("%s is in %s", name, networks)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestContractHoldsForEveryCaseOfOurOwn(t *testing.T) {
	fresh(t)
	cases.Run(t, httpAddr)
}

func TestContractHoldsForTheSharedCases(t *testing.T) {
	check := cases.Shared(t)
	s := fresh(t)
	t.Log(s.run(check, "http://"+httpAddr))
}

func TestHandMadeWayWorks(t *testing.T) {
	s := fresh(t)
	before := s.sql("SELECT * FROM coupons; SELECT * FROM products")
	s.shell(`docker exec -i ecom-mysql mysql -uroot -p"$(cat compose/secrets/mysql-root-password)" ecommerce <bench/k6/setup-test-data.sql`)
	if after := s.sql("SELECT * FROM coupons; SELECT * FROM products"); after != before {
		t.Errorf("loading the sample data again has changed\n%s to\n%s", before, after)
	}
	s.shell(`docker exec ecom-redis redis-cli SET "coupon:issue:async:stock:1" "1000"`)

	results := t.TempDir()
	scenarios := map[string][]string{
		"coupon":           {"run", "-e", "SHORT=1", "-e", "STOCK=1000", filepath.Join(s.root, "bench/k6/scenario1-coupon-issue.js")},
		"popular-products": {"run", "-e", "SHORT=1", filepath.Join(s.root, "bench/k6/scenario2-popular-products.js")},
	}
	for _, name := range []string{"coupon", "popular-products"} {
		program, args := "k6", scenarios[name]
		if _, err := exec.LookPath(program); err != nil {
			program, args = filepath.Join(s.root, "build/go-tools/ecom-scenario"), []string{"-short", "-stock=1000", name}
		}
		command := exec.Command(program, args...)
		command.Dir = results
		output, err := command.CombinedOutput()
		t.Logf("%s %s\n%s", filepath.Base(program), strings.Join(args, " "), output)
		if err != nil {
			t.Error(err)
		}
		summary := s.run("jq", ".", filepath.Join(results, "summary-"+name+".json"))
		if !json.Valid([]byte(summary)) {
			t.Error(summary)
		}
	}
	s.requireVerified(1)
	if rows := strings.TrimSpace(s.sql("SELECT COUNT(*) FROM coupon_issues WHERE coupon_id = 1")); !strings.HasSuffix(rows, "1000") {
		t.Errorf("%s rows, want 1000", rows)
	}

	// Now that the stock is gone, the same line is a mistake.
	s.shell(`docker exec ecom-redis redis-cli SET "coupon:issue:async:stock:1" "1000"`)
	repaired := stack.Until(verdictWithin, func() bool {
		return strings.TrimSpace(s.shell("docker exec ecom-redis redis-cli GET coupon:issue:async:stock:1")) == "0"
	})
	if !repaired {
		t.Error("a stock that was set by hand is not repaired")
	}
	s.requireVerified(1)
}

func TestLedgerBalancesAlthoughEachContainerIsKilledInTurn(t *testing.T) {
	const coupon, stock, between = 1001, 200_000, 300
	s := fresh(t)
	s.sql("INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at, ends_at) VALUES " +
		"(1001, 'kill', 200000, 200000, UTC_TIMESTAMP() - INTERVAL 1 HOUR, UTC_TIMESTAMP() + INTERVAL 1 DAY)")
	options := campaign.Usual(16, 1)
	options.Addrs, options.Coupon, options.PerSecond, options.RequestsMax = []string{httpAddr}, coupon, 400, stock
	c := campaign.Start(t, s.state(coupon), options)
	c.AwaitPromises(between, answerWithin)
	for _, name := range always {
		before := s.inspect(name)
		if err := syscall.Kill(before.State.Pid, syscall.SIGKILL); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		killed := time.Now()
		healthy := stack.Until(healthyWithin, func() bool {
			now := s.inspect(name)
			return now.RestartCount > before.RestartCount && now.State.Health.Status == "healthy"
		})
		if !healthy {
			t.Fatalf("%s is not healthy again", name)
		}
		back := time.Since(killed)
		c.AwaitRecovery(time.Now(), answerWithin)
		t.Logf("%s killed: healthy after %v", name, back.Round(time.Millisecond))
		c.AwaitPromises(c.Count(ledger.Queued)+between, answerWithin)
	}
	c.Stop()
	t.Logf("%+v", c.Finish(answerWithin))
	c.RequireClean()
	s.requireVerified(coupon)
}

func TestDownKeepsWhatWasIssued(t *testing.T) {
	s := fresh(t)
	issued := func() string { return s.sql("SELECT * FROM coupon_issues") }
	s.shell(`curl -sSf -X POST -H 'userId: 12345' http://` + httpAddr + `/coupons/1/issue`)
	if !stack.Until(answerWithin, func() bool { return strings.Contains(issued(), "12345") }) {
		t.Fatal("no row")
	}
	before := issued()
	s.run("make", "down")
	if left := s.run("docker", "ps", "--all", "--quiet"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	s.run("make", "up")
	if after := issued(); after != before {
		t.Errorf("%s, and before %s", after, before)
	}
	answer := s.shell(`curl -sS -X POST -H 'userId: 12345' http://` + httpAddr + `/coupons/1/issue`)
	if !strings.Contains(answer, "CP102") {
		t.Errorf("the same user again: %s", answer)
	}
}

func TestMonitoringSeesServerRecorderAndGateway(t *testing.T) {
	s := fresh(t)
	// There is no stand-in for Grafana.
	s.compose("--profile", "monitoring", "up", "--detach", "--wait", "prometheus", "alertmanager", "influxdb")
	var targets struct {
		Data struct {
			ActiveTargets []struct {
				Health string
				Labels struct{ Instance string }
			}
		}
	}
	up := stack.Until(answerWithin, func() bool {
		get(t, "http://127.0.0.1:9090/api/v1/targets", &targets)
		for _, target := range targets.Data.ActiveTargets {
			if target.Health != "up" {
				return false
			}
		}
		return len(targets.Data.ActiveTargets) == 3
	})
	if !up {
		t.Errorf("%+v", targets)
	}
	var managers struct {
		Data struct{ ActiveAlertmanagers []struct{ URL string } }
	}
	found := stack.Until(answerWithin, func() bool {
		get(t, "http://127.0.0.1:9090/api/v1/alertmanagers", &managers)
		return len(managers.Data.ActiveAlertmanagers) == 1
	})
	if !found {
		t.Errorf("%+v", managers)
	}
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Health, Name string }
			}
		}
	}
	wrong := ""
	evaluated := stack.Until(answerWithin, func() bool {
		get(t, "http://127.0.0.1:9090/api/v1/rules", &rules)
		wrong = ""
		for _, group := range rules.Data.Groups {
			for _, rule := range group.Rules {
				if rule.Health != "ok" {
					wrong += rule.Name + " " + rule.Health + " "
				}
			}
		}
		return wrong == "" && len(rules.Data.Groups) > 0
	})
	if !evaluated {
		t.Errorf("rules: %s", wrong)
	}
}
