package load

import (
	"context"
	"strconv"
	"sync"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/wire"
)

// Phase is a time of a constant rate.
type Phase struct {
	PerSecond int64
	For       time.Duration
}

// OpenOptions of Open. All but Observe must be set.
type OpenOptions struct {
	Addr        string // host and port of the REST side
	Coupon      int64
	Phases      []Phase
	FirstUser   int64 // each request is of the next user, with a key of its own
	Connections int   // one request at a time on each; a request that is due and finds none free waits
	Timeout     time.Duration
	Journal     *ledger.Journal
	Observe     func(entry ledger.Entry, due time.Time) // by all connections at once; may be nil
}

type dueRequest struct {
	user int64
	at   time.Time
}

// Open asks at the times of a schedule, whatever has become of earlier requests, as many users do who know
// nothing of each other. It ends once all are answered, or, with those on their way, when ctx is done.
func Open(ctx context.Context, options OpenOptions) Result {
	result := Result{Answers: map[ledger.Answer]int64{}, Failures: map[string]int64{}}
	var mu sync.Mutex
	note := func(entry ledger.Entry, due time.Time, failure string) {
		options.Journal.Add(entry)
		if options.Observe != nil {
			options.Observe(entry, due)
		}
		mu.Lock()
		defer mu.Unlock()
		result.Answers[entry.Answer]++
		if failure != "" {
			result.Failures[failure]++
		}
	}

	var total int64
	for _, phase := range options.Phases {
		total += phase.requests()
	}
	due := make(chan dueRequest, total) // so that the schedule never waits for anybody
	var connections sync.WaitGroup
	for range options.Connections {
		connections.Go(func() {
			client := wire.NewClient(options.Addr, options.Timeout)
			defer client.Close()
			for request := range due {
				if ctx.Err() != nil {
					continue
				}
				entry, failure := Ask(client, options.Coupon, request.user, "k-"+strconv.FormatInt(request.user, 10))
				note(entry, request.at, failure)
			}
		})
	}
	options.schedule(ctx, due)
	close(due)
	connections.Wait()
	return result
}

func (p Phase) requests() int64 { return int64(p.For) * p.PerSecond / int64(time.Second) }

func (o *OpenOptions) schedule(ctx context.Context, due chan<- dueRequest) {
	user := o.FirstUser
	begin := time.Now()
	for _, phase := range o.Phases {
		for n := range phase.requests() {
			at := begin.Add(time.Duration(n) * time.Second / time.Duration(phase.PerSecond))
			if wait := time.Until(at); wait > 0 && !sleep(ctx, wait) {
				return
			}
			due <- dueRequest{user, at}
			user++
		}
		begin = begin.Add(phase.For)
		if !sleep(ctx, time.Until(begin)) {
			return
		}
	}
}
