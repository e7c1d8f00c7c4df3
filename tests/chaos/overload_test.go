package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

// The overload: ten times what the gate takes, on its own clock, whatever becomes of it.
const (
	gatePerSecond = 300
	calmPerSecond = gatePerSecond / 2
	overPerSecond = 10 * gatePerSecond
	calmBefore    = 4 * time.Second
	overloadFor   = 15 * time.Second
	calmAfter     = 8 * time.Second
	// connections are twice as many as requests that the gateway lets wait for the server: so what comes does
	// not depend on what is answered.
	connections = 2048

	// What is required: refused within 5 ms, four fifths of the gate's work, normal after 5 s.
	shedWithin       = 5 * time.Millisecond
	goodputShare     = 0.8
	rssMaxMiB        = 256 // server and gateway together, their 2,048 connections included
	rssGrowthMiB     = 16  // from the first half of the overload to the second: what is kept is bounded
	normalBackWithin = 5 * time.Second

	// shedTailWithin is for the slowest twentieth of refusals, on two cores that the load, the stores and other
	// tests share: far from the wait of those who are let in, and no more than that.
	shedTailWithin = 250 * time.Millisecond
	// normalWithin is the answer of a calm second: the gate's turn, the log, and a busy machine.
	normalWithin = 150 * time.Millisecond
)

// second is what became of the requests that were due in one second; of the accepted ones, by when they
// were answered, too.
type second struct {
	Second   int     `json:"second"`
	Offered  int     `json:"offered"`
	Accepted int     `json:"accepted"`
	Shed     int     `json:"shed"`
	Other    int     `json:"other"`
	Promised int     `json:"promised"` // answers QUEUED in this second
	Accept50 float64 `json:"accepted_p50_ms"`
	Accept95 float64 `json:"accepted_p95_ms"`
	Shed50   float64 `json:"shed_p50_ms"`
	Shed95   float64 `json:"shed_p95_ms"`
	RSSMiB   float64 `json:"rss_mib"` // server and gateway

	accepted, shed []time.Duration
}

type overloadReport struct {
	Capacity    int      `json:"capacity_per_second"`
	Overload    int      `json:"overload_per_second"`
	From        int      `json:"overload_from_second"`
	To          int      `json:"overload_to_second"`
	Goodput     float64  `json:"goodput_share"`
	Shed50      float64  `json:"shed_p50_ms"`
	Shed95      float64  `json:"shed_p95_ms"`
	Accept50    float64  `json:"accepted_p50_ms"`
	Accept95    float64  `json:"accepted_p95_ms"`
	AcceptMax   float64  `json:"accepted_max_ms"`
	RSSBefore   float64  `json:"rss_before_mib"`
	RSSMax      float64  `json:"rss_max_mib"`
	RecoveryMS  int64    `json:"recovery_ms"`
	LedgerClean bool     `json:"ledger_clean"`
	Seconds     []second `json:"seconds"`
}

type timed struct {
	ledger.Entry
	due time.Time
}

// overloaded offers ten times what the gate takes. OVERLOAD_WAIT_TARGET sets another claim-wait-target: with 1m
// nothing is refused before it is too late, and this fails.
func overloaded(x *trial) {
	x.stop()
	server := x.failpointServer("overload", allRoles, "issuer.before-gate=pace:"+strconv.Itoa(gatePerSecond),
		"ECOM_CLAIM_WAIT_TARGET="+os.Getenv("OVERLOAD_WAIT_TARGET")) // "": the default
	gateway := x.s.With("ECOM_LANES=2").StartGateway(server)
	x.awaitReady(gateway)
	const stock = 100_000 // more than can be accepted
	x.offer(stock)

	var mu sync.Mutex
	var all []timed
	began := time.Now()
	x.c = campaign.StartOpen(x.t, x.state, load.OpenOptions{
		Addr: gateway.HTTP, Coupon: x.coupon, FirstUser: 1, Connections: connections, Timeout: answerWithin,
		Phases: []load.Phase{{PerSecond: calmPerSecond, For: calmBefore}, {PerSecond: overPerSecond, For: overloadFor},
			{PerSecond: calmPerSecond, For: calmAfter}},
		Observe: func(entry ledger.Entry, due time.Time) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, timed{entry, due})
		},
	})
	endWatch := watchMemory(server.Program, gateway.Program)
	x.c.Finish(60 * time.Second)
	resident := endWatch()
	ended := x.c.RequireClean()
	x.note(ended)
	x.settled = true

	report := newOverloadReport(all, began, resident)
	report.LedgerClean = ended.OK
	x.judgeOverload(report)
	x.row.Count = 1
	x.recoveries = append(x.recoveries, time.Duration(report.RecoveryMS)*time.Millisecond)
	if err := report.write(); err != nil {
		x.t.Error(err)
	}
}

// newOverloadReport sorts the requests by the second in which they were due, on the load's clock.
func newOverloadReport(all []timed, began time.Time, resident []float64) *overloadReport {
	report := &overloadReport{
		Capacity: gatePerSecond, Overload: overPerSecond,
		From: int(calmBefore / time.Second), To: int((calmBefore + overloadFor) / time.Second),
	}
	report.Seconds = make([]second, int((calmBefore+overloadFor+calmAfter)/time.Second))
	for i := range report.Seconds {
		report.Seconds[i].Second = i
		if i < len(resident) {
			report.Seconds[i].RSSMiB = resident[i]
		}
	}
	in := func(moment time.Time) *second {
		return &report.Seconds[min(max(int(moment.Sub(began)/time.Second), 0), len(report.Seconds)-1)]
	}
	for _, request := range all {
		s := in(request.due)
		s.Offered++
		switch request.Answer {
		case ledger.Queued:
			s.Accepted++
			s.accepted = append(s.accepted, request.took())
			in(request.due.Add(request.took())).Promised++
		case ledger.Unavailable:
			s.Shed++
			s.shed = append(s.shed, request.took())
		default:
			s.Other++
		}
	}
	var accepted, shed []time.Duration
	promised := 0
	for i := range report.Seconds {
		s := &report.Seconds[i]
		s.Accept50, s.Accept95 = percentile(s.accepted, 0.5), percentile(s.accepted, 0.95)
		s.Shed50, s.Shed95 = percentile(s.shed, 0.5), percentile(s.shed, 0.95)
		if i >= report.From && i < report.To {
			accepted, shed = append(accepted, s.accepted...), append(shed, s.shed...)
			promised += s.Promised
		}
	}
	report.RSSBefore, report.RSSMax = report.rssMax(0, report.From), report.rssMax(0, len(report.Seconds))
	report.Goodput = float64(promised) / float64(gatePerSecond) / overloadFor.Seconds()
	report.Shed50, report.Shed95 = percentile(shed, 0.5), percentile(shed, 0.95)
	report.Accept50, report.Accept95 = percentile(accepted, 0.5), percentile(accepted, 0.95)
	report.AcceptMax = percentile(accepted, 1)
	report.RecoveryMS = report.recovery(all, began.Add(calmBefore+overloadFor)).Milliseconds()
	return report
}

// rssMax is the most memory in these seconds, in MiB.
func (report *overloadReport) rssMax(from, to int) float64 {
	most := 0.0
	for _, s := range report.Seconds[from:to] {
		most = max(most, s.RSSMiB)
	}
	return most
}

// took is how long the answer took from the moment at which the request was due.
func (t *timed) took() time.Duration { return time.Duration(t.DoneNs - t.due.UnixNano()) }

// recovery is how long after the end of the overload a request was refused, or half of a second's had to wait.
func (report *overloadReport) recovery(all []timed, end time.Time) time.Duration {
	var last time.Duration
	for _, request := range all {
		if request.Answer != ledger.Queued {
			last = max(last, request.due.Sub(end))
		}
	}
	for _, s := range report.Seconds[report.To:] {
		if s.Accept50 > milliseconds(normalWithin) {
			last = max(last, time.Duration(s.Second+1-report.To)*time.Second)
		}
	}
	return last
}

// percentile is in milliseconds; 0 of nothing.
func percentile(of []time.Duration, share float64) float64 {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	at := of[min(int(share*float64(len(of))), len(of)-1)]
	return float64(at.Microseconds()) / 1000
}

func (x *trial) judgeOverload(report *overloadReport) {
	x.t.Helper()
	x.t.Logf("goodput %.2f of %d/s; refused p50 %.2f ms, p95 %.2f ms; accepted p50 %.0f ms, p95 %.0f ms, max %.0f ms; "+
		"RSS %.0f, at most %.0f MiB; normal again after %d ms", report.Goodput, report.Capacity, report.Shed50,
		report.Shed95, report.Accept50, report.Accept95, report.AcceptMax, report.RSSBefore, report.RSSMax, report.RecoveryMS)
	for _, s := range report.Seconds {
		x.t.Logf("%+v", s.row())
	}
	if report.Goodput < goodputShare {
		x.t.Errorf("goodput %.2f of the capacity, want %.2f", report.Goodput, goodputShare)
	}
	if limit := milliseconds(shedWithin); report.Shed50 > limit {
		x.t.Errorf("half of the refusals took longer than %.1f ms, want %.1f", report.Shed50, limit)
	}
	if limit := milliseconds(shedTailWithin); report.Shed95 > limit {
		x.t.Errorf("a twentieth of the refusals took longer than %.1f ms, want %.1f", report.Shed95, limit)
	}
	if report.RSSMax > rssMaxMiB {
		x.t.Errorf("server and gateway had %.0f MiB, want at most %d", report.RSSMax, rssMaxMiB)
	}
	half := (report.From + report.To) / 2
	if grown := report.rssMax(half, report.To) - report.rssMax(report.From, half); grown > rssGrowthMiB {
		x.t.Errorf("server and gateway went on growing, by %.0f MiB, want at most %d", grown, rssGrowthMiB)
	}
	if report.RecoveryMS > normalBackWithin.Milliseconds() {
		x.t.Errorf("normal again %d ms after the overload, want %v", report.RecoveryMS, normalBackWithin)
	}
	for answer, count := range x.c.Result.Answers {
		if answer != ledger.Queued && answer != ledger.Unavailable {
			x.t.Errorf("%d answers %v; failures %v", count, answer, x.c.Result.Failures)
		}
	}
}

func (s *second) row() string {
	return fmt.Sprintf("%2d s: offered %d, accepted %d, refused %d, other %d, promised %d; accepted p95 %.1f, refused p50 %.2f, p95 %.2f ms; %.0f MiB",
		s.Second, s.Offered, s.Accepted, s.Shed, s.Other, s.Promised, s.Accept95, s.Shed50, s.Shed95, s.RSSMiB)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// watchMemory samples what the programs have in memory, each second from now on; in MiB. The function that it
// returns ends that.
func watchMemory(programs ...*stack.Program) (end func() []float64) {
	done := make(chan struct{})
	var samples []float64
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			var bytes int
			for _, program := range programs {
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", program.PID()))
				if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
					pages, _ := strconv.Atoi(fields[1]) // the kernel's own
					bytes += pages * os.Getpagesize()
				}
			}
			samples = append(samples, float64(bytes)/(1<<20))
		}
	})
	return func() []float64 {
		close(done)
		watching.Wait()
		return samples
	}
}

// write leaves the report where the plot of it is drawn from: build/test-logs/overload.json.
func (report *overloadReport) write() error {
	root, err := stack.Root()
	if err != nil {
		return err
	}
	folder := filepath.Join(root, "build", "test-logs")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "overload.json"), append(text, '\n'), 0o644)
}
