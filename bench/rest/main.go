// Command ecom-bench-rest loads a gateway over HTTP/1.1 and prints what it saw as one line of JSON.
//
//	ecom-bench-rest -address=127.0.0.1:8080 -method=get-product -connections=64 -seconds=5
//	ecom-bench-rest -address=127.0.0.1:8080 -method=issue-coupon -rate=2000 -user-base=1000
//
// A closed loop: each connection sends its next request when the last one was answered. With -rate the
// open model: so many requests a second, and a latency counts from the time at which the request was due.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"

	"ecom/bench/latency"
)

const (
	maxConnections = 10_000
	maxRate        = 50_000
	maxSeconds     = 600
	maxUser        = int64(1) << 60
)

type settings struct {
	address, method string
	load            Load
	timeout         time.Duration
	kind            KindOptions
}

// A figure is one outcome: how often, and how long it took.
type figure struct {
	Measured int   `json:"measured"`
	Total    int64 `json:"total"`
	latency.Distribution
}

// A report has the form of ecom-bench-grpc's.
type report struct {
	Generator         string                `json:"generator"`
	Method            string                `json:"method"`
	Connections       int                   `json:"connections"`
	Rate              int                   `json:"rate"`
	Seconds           float64               `json:"seconds"`
	CallsPerSecond    float64               `json:"calls_per_second"`
	AcceptedPerSecond float64               `json:"accepted_per_second"`
	Outcomes          map[string]figure     `json:"outcomes"`
	TotalByCode       map[string]int64      `json:"total_by_code"`
	Late              *latency.Distribution `json:"late,omitempty"`
	GeneratorCPU      float64               `json:"generator_cpu_seconds"`
}

func main() {
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ecom-bench-rest:", err)
		os.Exit(2)
	}
}

func run(s settings) error {
	users := make([]*user, s.load.Connections)
	for i := range users {
		connection, err := Dial(s.address, s.timeout)
		if err != nil {
			return err
		}
		defer connection.Close()
		kind, err := NewKind(s.method, s.kind, uint64(i))
		if err != nil {
			return err
		}
		users[i] = &user{connection, kind, newMeasured()}
	}
	measured, elapsed := s.load.Run(users)
	return json.NewEncoder(os.Stdout).Encode(sumUp(s, measured, elapsed))
}

func sumUp(s settings, measured *Measured, elapsed time.Duration) report {
	r := report{
		Generator: "ecom-bench-rest", Method: s.method, Connections: s.load.Connections, Rate: s.load.Rate,
		Seconds: elapsed.Seconds(), Outcomes: map[string]figure{}, TotalByCode: measured.Codes, GeneratorCPU: cpuSeconds(),
	}
	calls := 0
	for i, name := range outcomeNames {
		count := len(measured.Latencies[i])
		calls += count
		r.Outcomes[name] = figure{count, measured.Total[i], latency.Of(measured.Latencies[i])}
	}
	r.CallsPerSecond = float64(calls) / elapsed.Seconds()
	r.AcceptedPerSecond = float64(r.Outcomes[outcomeNames[Accepted]].Measured) / elapsed.Seconds()
	if s.load.Rate > 0 {
		late := latency.Of(measured.Late)
		r.Late = &late
	}
	return r
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func parse(arguments []string) (settings, error) {
	var s settings
	var seconds, warmUp float64
	flags := flag.NewFlagSet("ecom-bench-rest", flag.ContinueOnError)
	flags.StringVar(&s.address, "address", "127.0.0.1:8080", "the gateway, host:port")
	flags.StringVar(&s.method, "method", "get-product", "get-product, issue-coupon, or fixed: product 1, again and again")
	flags.IntVar(&s.load.Connections, "connections", 64, "connections; in the open model, requests that may wait for their answers")
	flags.IntVar(&s.load.Rate, "rate", 0, "open model: requests a second, whatever the answers take; 0: a closed loop")
	flags.Float64Var(&seconds, "seconds", 5, "how long is measured")
	flags.Float64Var(&warmUp, "warm-up-seconds", 1, "how long requests are made before that")
	flags.Int64Var(&s.load.Requests, "requests", 0, "closed loop: end after so many instead, and measure all of them")
	flags.DurationVar(&s.timeout, "timeout", 10*time.Second, "how long one request may take")
	flags.Int64Var(&s.kind.CouponID, "coupon-id", 1, "the coupon")
	flags.Int64Var(&s.kind.UserBase, "user-base", 1, "the first user")
	flags.Int64Var(&s.kind.Users, "users", 0, "so many users take turns; 0: every request is of another one")
	flags.Uint64Var(&s.kind.Seed, "seed", 1, "seeds the choice of products")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	s.kind.Host = s.address
	s.load.Duration = time.Duration(seconds * float64(time.Second))
	s.load.WarmUp = time.Duration(warmUp * float64(time.Second))
	switch {
	case flags.NArg() != 0:
		return s, fmt.Errorf("what is %q?", flags.Arg(0))
	case s.load.Connections < 1 || s.load.Connections > maxConnections:
		return s, fmt.Errorf("connections must be 1 to %d", maxConnections)
	case s.load.Rate < 0 || s.load.Rate > maxRate:
		return s, fmt.Errorf("rate must be 0 to %d", maxRate)
	case !(seconds > 0 && seconds <= maxSeconds && warmUp >= 0 && warmUp <= maxSeconds):
		return s, fmt.Errorf("seconds and warm-up-seconds must be up to %d, seconds more than 0", maxSeconds)
	case s.load.Requests < 0 || s.load.Requests > 0 && s.load.Rate > 0:
		return s, errors.New("requests must not be negative, nor go with a rate")
	case s.kind.UserBase < 1 || s.kind.UserBase > maxUser || s.kind.Users < 0 || s.kind.CouponID < 1 || s.timeout <= 0:
		return s, errors.New("coupon-id and timeout must be positive, user-base 1 to 2^60, users not negative")
	}
	return s, nil
}
