package monitoring

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

const (
	// Bounds: with the shortened rules the slowest alert takes 15 s, and a window of a minute to end.
	firesWithin = 45 * time.Second
	endsWithin  = 90 * time.Second

	coupon = 1001
	stock  = 1_000_000

	// promisedWithin is how soon what was QUEUED is to be a row.
	promisedWithin = 5 * time.Second

	// claimsPerSecond is so low that a fault soon shows in a ratio.
	claimsPerSecond = 100
	// burstClaims bring each of the three partitions beyond the 1000 of the alert.
	burstClaims = 6000
)

// fault is what goes wrong, and the alerts that it fires.
type fault struct {
	name   string
	alerts []string
	// begin lets it happen; what it returns puts right what does not heal by itself.
	begin func(*rig) (heal func())
}

// row is what is reported of one alert.
type row struct {
	Alert           string  `json:"alert"`
	Fault           string  `json:"fault"`
	PageSeconds     float64 `json:"page_seconds"`
	ResolvedSeconds float64 `json:"resolved_seconds"`
}

type rig struct {
	t        *testing.T
	ctx      context.Context
	s        *stack.Stack
	api      *stack.Server
	recorder *stack.Server
	gateway  *stack.Gateway
	db       *sql.DB
	gate     *redis.Client
	kafka    *kgo.Client
	slack    *slack
	// prometheus is the address of its API.
	prometheus string
	queued     atomic.Int64
	rows       []row
	healed     []time.Time // of each row
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, ctx: context.WithoutCancel(t.Context()), s: stack.NewReal(t, stack.DataDir(t), "ECOM_LOG_FORMAT=json")}
	r.slack = newSlack(t)
	r.s.Up()
	r.openStores()
	// The recorder is a process of its own: it can stand still while claims are taken.
	r.api = r.s.StartServer("api", "api,reconciler")
	r.recorder = r.s.StartServer("recorder", "recorder")
	r.gateway = r.s.StartGateway(r.api)
	r.await("http://"+r.gateway.Admin+"/health/ready", stack.ReadyWithin)
	r.exec("INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at, ends_at)"+
		" VALUES (?, 'alerts', ?, ?, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, UTC_TIMESTAMP(6) + INTERVAL 1 DAY)",
		coupon, stock, stock)
	r.startMonitoring()
	r.startLoad()
	r.awaitPromises(100)
	return r
}

func (r *rig) openStores() {
	r.t.Helper()
	address, err := url.Parse(r.s.MySQLURL)
	if err != nil {
		r.t.Fatal(err)
	}
	password, _ := address.User.Password()
	if err := mysql.SetLogger(&mysql.NopLogger{}); err != nil {
		r.t.Fatal(err)
	}
	r.db, err = sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", address.User.Username(), password, address.Host, address.Path))
	if err != nil {
		r.t.Fatal(err)
	}
	options, err := redis.ParseURL(r.s.RedisURL)
	if err != nil {
		r.t.Fatal(err)
	}
	r.gate = redis.NewClient(options)
	r.kafka, err = kgo.NewClient(kgo.SeedBrokers(r.s.KafkaBrokers))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		r.kafka.Close()
		_, _ = r.gate.Close(), r.db.Close() // nothing is left to be sent
	})
}

// startMonitoring starts Alertmanager and Prometheus with copies of what compose/ has, faster.
func (r *rig) startMonitoring() {
	r.t.Helper()
	folder := filepath.Join(r.s.DataDir, "monitoring")
	alertmanager, prometheus := r.s.FreeAddr(), r.s.FreeAddr()
	r.write(filepath.Join(folder, "secrets", "slack-url"), r.slack.URL+"/slack")
	r.write(filepath.Join(folder, "secrets", "webhook-token"), webhookToken)
	r.copy("alertmanager/alertmanager.yml", filepath.Join(folder, "alertmanager.yml"),
		`group_wait: \w+`, "group_wait: 100ms",
		`group_interval: \w+`, "group_interval: 1s",
		`(?s)    email_configs:.*?    webhook`, "    webhook", // there is nobody here who takes mail
		`https://oncall\S+`, r.slack.URL+"/webhook")
	// A window still has to hold what was before a fault and what came after it.
	r.copy("prometheus/rules/coupons.yml", filepath.Join(folder, "rules", "coupons.yml"),
		`for: (30s|[1-9]m)`, "for: 2s",
		`\[\d+m\]`, "[30s]",
		`\[1h\]`, "[1m]")
	r.copy("prometheus/prometheus.yml", filepath.Join(folder, "prometheus.yml"),
		`scrape_interval: \w+`, "scrape_interval: 1s",
		`scrape_timeout: \w+`, "scrape_timeout: 1s",
		`evaluation_interval: \w+`, "evaluation_interval: 1s",
		`127.0.0.1:9093`, alertmanager,
		`127.0.0.1:8081`, r.gateway.Admin,
		`127.0.0.1:8082`, r.api.Admin+", "+r.recorder.Admin)

	r.s.Run(folder, "prometheus-alertmanager", "--config.file=alertmanager.yml", "--storage.path=alertmanager",
		"--web.listen-address="+alertmanager, "--cluster.listen-address=")
	r.await("http://"+alertmanager+"/-/ready", stack.ReadyWithin)
	r.s.Run(folder, "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus",
		"--web.listen-address="+prometheus)
	r.prometheus = "http://" + prometheus
	r.await(r.prometheus+"/-/ready", stack.ReadyWithin)
	r.awaitData()
}

// awaitData waits until all targets were read, and every rule without trouble.
func (r *rig) awaitData() {
	r.t.Helper()
	if !stack.Until(stack.ReadyWithin, func() bool {
		values, err := r.ask("up == 1")
		return err == nil && len(values) == 3
	}) {
		r.t.Fatal("Prometheus does not read all targets")
	}
}

// ask has Prometheus evaluate an expression now, and returns the values that it has for it.
func (r *rig) ask(expression string) ([]string, error) {
	answer, err := http.Get(r.prometheus + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var result struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
		return nil, err
	}
	if result.Error != "" {
		return nil, errors.New(result.Error)
	}
	var values []string
	for _, series := range result.Data.Result {
		values = append(values, fmt.Sprint(series.Value[1]))
	}
	return values, nil
}

// copy writes a configuration of compose/ to another place, with each pattern replaced, at least once.
func (r *rig) copy(from, to string, replacements ...string) {
	r.t.Helper()
	text, err := os.ReadFile(files(r.t, from)[0])
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(replacements); i += 2 {
		pattern := regexp.MustCompile(replacements[i])
		if !pattern.Match(text) {
			r.t.Fatalf("%s has no %s", from, pattern)
		}
		text = pattern.ReplaceAllLiteral(text, []byte(replacements[i+1]))
	}
	r.write(to, string(text))
}

func (r *rig) write(path, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) await(address string, within time.Duration) {
	r.t.Helper()
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	if !stack.Until(within, func() bool {
		answer, err := client.Get(address)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}) {
		r.t.Fatalf("%s is not ready", address)
	}
}

// startLoad claims at a steady pace until the test ends.
func (r *rig) startLoad() {
	ctx, cancel := context.WithCancel(r.ctx)
	var ended sync.WaitGroup
	ended.Go(func() {
		load.Run(ctx, load.Options{
			Addrs: []string{r.gateway.HTTP}, Coupon: coupon, Workers: 64, PerSecond: claimsPerSecond, FirstUser: 1,
			Observe: func(e ledger.Entry) {
				if e.Answer == ledger.Queued {
					r.queued.Add(1)
				}
			},
		})
	})
	r.t.Cleanup(func() {
		cancel()
		ended.Wait()
	})
}

// burst claims so many at once.
func (r *rig) burst(claims int64) {
	r.t.Helper()
	result := load.Run(r.ctx, load.Options{
		Addrs: []string{r.gateway.HTTP}, Coupon: coupon, Workers: 32, FirstUser: 10_000_000, RequestsMax: claims,
	})
	if queued := result.Answers[ledger.Queued]; queued < claims*9/10 {
		r.t.Fatalf("%d of %d claims were taken: %+v", queued, claims, result)
	}
}

// awaitPromises waits until so many more claims were answered QUEUED.
func (r *rig) awaitPromises(count int64) {
	r.t.Helper()
	wanted := r.queued.Load() + count
	if !stack.Until(firesWithin, func() bool { return r.queued.Load() >= wanted }) {
		r.t.Fatal("claims are not promised any more")
	}
}

func (r *rig) exec(query string, arguments ...any) {
	r.t.Helper()
	if _, err := r.db.ExecContext(r.ctx, query, arguments...); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
}

func (r *rig) ecomctl(arguments ...string) string {
	r.t.Helper()
	program := r.s.Run("", stack.Binary(r.t, "ecomctl"), arguments...)
	if code := program.AwaitEnd(stack.StopWithin); code != 0 {
		r.t.Fatalf("ecomctl %s: exit code %d\n%s", strings.Join(arguments, " "), code, program.Output())
	}
	return program.Output()
}

// writeTable logs the report for people, and writes that for programs to build/test-logs/alerts.json.
func (r *rig) writeTable() {
	r.t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "alert\tfault\tseconds to page\tseconds to resolved after healing\t")
	for _, row := range r.rows {
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%.1f\t\n", row.Alert, row.Fault, row.PageSeconds, row.ResolvedSeconds)
	}
	_ = w.Flush() // into memory
	r.t.Log("\n" + text.String())

	root, err := stack.Root()
	if err != nil {
		r.t.Fatal(err)
	}
	report, err := json.MarshalIndent(r.rows, "", "  ")
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(filepath.Join(root, "build", "test-logs", "alerts.json"), string(report)+"\n")
}
