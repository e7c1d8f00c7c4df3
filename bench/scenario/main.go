// Command ecom-scenario runs one of the two load scenarios against a gateway and writes its summary.
//
//	ecom-scenario [flags] coupon|popular-products
//
// The same load as the scripts in bench/k6, for machines without k6, at a fraction of the generator's
// CPU time: stages, think times, answers that count as right, and thresholds are the same ones.
// It exits with 1 when a threshold failed, and with 2 when it could not run.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Settings are what a run can vary.
type Settings struct {
	BaseURL  string
	AdminURL string
	CouponID int64
	UserBase int64
	Stock    int64
	Think    bool
	Short    bool
	Rate     int
	Timeout  time.Duration
	Output   string
}

// A Scenario makes the requests of one virtual user after the other. Thread-safe.
type Scenario interface {
	// Name is the scenario's name, and what its summary file is named after.
	Name() string
	// Prepare is called once before the load.
	Prepare(context.Context) error
	// Request makes one request and says how it ended. It reads the whole answer.
	Request(context.Context) Outcome
	// ThinkTime is how long a user waits after a request, in [min, max).
	ThinkTime() (shortest, longest time.Duration)
	// Judge is called once after the load and adds the scenario's thresholds and notes.
	Judge(context.Context, *Report)
}

func main() {
	failed, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "ecom-scenario:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run(arguments []string) (failed bool, err error) {
	settings, name, err := parse(arguments)
	if err != nil {
		return false, err
	}
	scenario, err := newScenario(name, settings)
	if err != nil {
		return false, err
	}
	// A run that is cut short leaves no summary: its figures would be of another load.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	if err := scenario.Prepare(ctx); err != nil {
		return false, err
	}
	recorder := NewRecorder()
	var dropped int64
	began := time.Now()
	if settings.Rate > 0 {
		dropped = OpenLoad(ctx, scenario, recorder, settings.Rate, openDuration(settings.Short))
	} else {
		ClosedLoad(ctx, scenario, recorder, stages(settings.Short), settings.Think)
	}
	elapsed := time.Since(began)
	if ctx.Err() != nil {
		return false, fmt.Errorf("interrupted: no summary is written")
	}

	report := recorder.Report(scenario.Name(), settings, elapsed, dropped)
	scenario.Judge(ctx, report)
	encoded, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(settings.Output, append(encoded, '\n'), 0o644); err != nil {
		return false, err
	}
	report.Print(os.Stdout)
	return report.Failed(), nil
}

func parse(arguments []string) (Settings, string, error) {
	var s Settings
	flags := flag.NewFlagSet("ecom-scenario", flag.ContinueOnError)
	flags.StringVar(&s.BaseURL, "base-url", "http://127.0.0.1:8080", "the gateway")
	flags.StringVar(&s.AdminURL, "admin-url", "http://127.0.0.1:8082", "the server's admin address, for the cache hit rate; empty: not measured")
	flags.Int64Var(&s.CouponID, "coupon-id", 1, "the coupon")
	flags.Int64Var(&s.UserBase, "user-base", 1_000_000_000, "users are this + 1, + 2, …")
	flags.Int64Var(&s.Stock, "stock", 0, "units left at the start: exactly so many must be accepted; 0: unknown")
	flags.BoolVar(&s.Think, "think", true, "users think between requests")
	flags.BoolVar(&s.Short, "short", false, "the same shape in 15 s")
	flags.IntVar(&s.Rate, "rate", 0, "open model: requests a second, whatever the answers take; 0: virtual users")
	flags.DurationVar(&s.Timeout, "timeout", 10*time.Second, "how long one request may take")
	flags.StringVar(&s.Output, "output", "", "the summary file (default summary-coupon.json or summary-popular-products.json)")
	if err := flags.Parse(arguments); err != nil {
		return s, "", err
	}
	if flags.NArg() != 1 {
		return s, "", fmt.Errorf("name one scenario: coupon or popular-products")
	}
	if s.Rate < 0 || s.Rate > maxRate {
		return s, "", fmt.Errorf("rate must be 0 to %d", maxRate)
	}
	if s.UserBase < 0 || s.UserBase >= 1<<60 {
		return s, "", fmt.Errorf("user-base must be 0 to 2^60 - 1")
	}
	if s.Timeout <= 0 || s.Stock < 0 || s.CouponID < 1 {
		return s, "", fmt.Errorf("timeout and coupon-id must be positive, stock not negative")
	}
	if s.Output == "" {
		s.Output = "summary-" + flags.Arg(0) + ".json"
	}
	return s, flags.Arg(0), nil
}
