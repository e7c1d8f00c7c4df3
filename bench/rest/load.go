package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Load is what is to be sent.
type Load struct {
	Connections int
	// Rate is how many requests a second are sent, come what may; 0: each connection sends its next one
	// when the last one was answered.
	Rate     int
	WarmUp   time.Duration
	Duration time.Duration
	// Requests, if not 0, ends a closed loop after so many; then all of them count, and the time is open.
	Requests int64
}

// Measured is what one connection saw.
type Measured struct {
	Latencies [outcomes][]time.Duration
	// Late is how long after they were due requests of the open model were sent.
	Late  []time.Duration
	Total [outcomes]int64
	Codes map[string]int64
}

func newMeasured() *Measured { return &Measured{Codes: map[string]int64{}} }

func (m *Measured) add(other *Measured) {
	for i := range outcomes {
		m.Latencies[i] = append(m.Latencies[i], other.Latencies[i]...)
		m.Total[i] += other.Total[i]
	}
	m.Late = append(m.Late, other.Late...)
	for code, count := range other.Codes {
		m.Codes[code] += count
	}
}

func (m *Measured) count(verdict Verdict) {
	m.Total[verdict.Outcome]++
	m.Codes[verdict.Code]++
}

// A user is one connection with what it asks.
type user struct {
	connection *Connection
	kind       Kind
	measured   *Measured
}

func (u *user) exchange(i int64, now time.Time) Verdict {
	answer, err := u.connection.Exchange(u.kind.Next(i), now)
	if err != nil {
		return failure(err)
	}
	return u.kind.Judge(answer)
}

// Run sends the load and returns what was seen and the measured time. Blocks until the last answer is in.
func (l Load) Run(users []*user) (*Measured, time.Duration) {
	began := time.Now()
	if l.Rate > 0 {
		l.open(users, began)
	} else {
		l.closed(users, began)
	}
	elapsed := l.Duration
	switch took := time.Since(began); {
	case l.Requests > 0:
		elapsed = took
	case l.Rate > 0:
		// Answers that come after the last request was due count: so does the time they took.
		elapsed = max(elapsed, took-l.WarmUp)
	}
	all := newMeasured()
	for _, u := range users {
		all.add(u.measured)
	}
	return all, elapsed
}

func (l Load) closed(users []*user, began time.Time) {
	var next atomic.Int64
	var running sync.WaitGroup
	from, to := began.Add(l.WarmUp), began.Add(l.WarmUp+l.Duration)
	for _, u := range users {
		running.Go(func() {
			for now := time.Now(); ; {
				i := next.Add(1) - 1
				if l.Requests > 0 && i >= l.Requests || l.Requests == 0 && !now.Before(to) {
					return
				}
				verdict := u.exchange(i, now)
				sent := now
				now = time.Now()
				u.measured.count(verdict)
				if l.Requests > 0 || !now.Before(from) && now.Before(to) {
					u.measured.Latencies[verdict.Outcome] = append(u.measured.Latencies[verdict.Outcome], now.Sub(sent))
				}
			}
		})
	}
	running.Wait()
}

// open sends requests at fixed times. A latency counts from the time at which the request was due, not
// from when it was sent: a server that stalls cannot hide it by keeping all connections busy.
func (l Load) open(users []*user, began time.Time) {
	total := l.scheduled()
	due := make(chan int64, total) // so that the pacer never waits for a connection
	go pace(due, total, func(i int64) time.Time { return began.Add(l.dueAfter(i)) })
	var running sync.WaitGroup
	from := began.Add(l.WarmUp)
	for _, u := range users {
		running.Go(func() {
			for i := range due {
				at, now := began.Add(l.dueAfter(i)), time.Now()
				verdict := u.exchange(i, now)
				u.measured.count(verdict)
				if !at.Before(from) {
					u.measured.Latencies[verdict.Outcome] = append(u.measured.Latencies[verdict.Outcome], time.Since(at))
					u.measured.Late = append(u.measured.Late, now.Sub(at))
				}
			}
		})
	}
	running.Wait()
}

// scheduled is how many requests the open model sends, warm-up included.
func (l Load) scheduled() int64 {
	return int64((l.WarmUp + l.Duration).Seconds() * float64(l.Rate))
}

// dueAfter is when the i-th request is due, from the beginning.
func (l Load) dueAfter(i int64) time.Duration {
	return time.Duration(float64(i) / float64(l.Rate) * float64(time.Second))
}

// PR_SET_TIMERSLACK, prctl(2).
const prSetTimerslack = 29

// pace hands out each request when it is due. It sleeps in the kernel on a thread of its own: Go's timers
// are up to 1 ms late on an idle machine, which is more than most answers take.
func pace(due chan<- int64, total int64, at func(int64) time.Time) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(due)
	// Wake this thread when asked, not up to 50 µs later as Linux does else. Without it: only less even.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, 1, 0)
	for i := range total {
		for {
			wait := time.Until(at(i))
			if wait <= 0 {
				break
			}
			left := syscall.NsecToTimespec(wait.Nanoseconds())
			_ = syscall.Nanosleep(&left, nil) // cut short by a signal: the loop sleeps on
		}
		due <- i
	}
}
