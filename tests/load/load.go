// Package load asks for coupons over REST, as fast as the answers come back, and keeps a journal of
// every request for the ledger.
package load

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/wire"
)

// Options of Run. Every count without a default must be set.
type Options struct {
	Addrs   []string // host and port of each REST side; the workers are spread over them
	Coupon  int64
	Workers int // each with a connection of its own, one request at a time

	// PerSecond bounds the new requests of all workers together; 0: as fast as the answers come.
	PerSecond int64
	// PacedUntil, once closed, ends that bound; nil: it holds for the whole run.
	PacedUntil <-chan struct{}

	// Users are numbered from FirstUser on. 0 UsersMax: as many as it takes, each a new one.
	// Otherwise the set is asked for in turn, again and again.
	FirstUser int64
	UsersMax  int64

	// Shares of the requests, 0 to 1, decided by the Seed.
	KeylessShare float64 // sent without an Idempotency-Key
	TwinShare    float64 // a second request of a user who is being or was just served
	RetryShare   float64 // indeterminate answers that are asked again with the same key
	Seed         uint64

	// Whichever comes first ends the run, as does its context.
	RequestsMax int64 // 0: no bound but the context
	SoldOutMax  int64 // "sold out" answers; 0: no bound

	Timeout time.Duration // of one request; 0: 10 s, past every deadline of the service
	Journal *ledger.Journal
	Observe func(ledger.Entry) // called with each entry, by all workers at once; may be nil
}

// Result sums a run up.
type Result struct {
	Answers map[ledger.Answer]int64
	// Failures counts requests that were sent and got no readable answer, by what went wrong.
	Failures map[string]int64
}

// retriesMax bounds how often one request is asked again: 20 ms apart, far longer than a restart.
const (
	retriesMax = 1000
	retryPause = 20 * time.Millisecond
)

// Run loads until an end is reached or ctx is done; requests on their way are waited for. Errors of
// the journal are the journal's to report, when it is closed.
func Run(ctx context.Context, options Options) Result {
	if options.Timeout == 0 {
		options.Timeout = 10 * time.Second
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	shared := &shared{options: options, stop: stop,
		result: Result{Answers: map[ledger.Answer]int64{}, Failures: map[string]int64{}}}
	var workers sync.WaitGroup
	for n := range options.Workers {
		workers.Go(func() {
			w := worker{
				shared: shared,
				random: rand.New(rand.NewPCG(options.Seed, uint64(n))),
				client: wire.NewClient(options.Addrs[n%len(options.Addrs)], options.Timeout),
			}
			defer w.client.Close()
			w.run(ctx)
		})
	}
	workers.Wait()
	return shared.result
}

type shared struct {
	options  Options
	stop     func()
	users    atomic.Int64
	requests atomic.Int64
	soldOut  atomic.Int64

	mu     sync.Mutex
	result Result
	turn   time.Time // of the last request that PerSecond let through
}

type worker struct {
	*shared
	random *rand.Rand
	client *wire.Client
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !w.awaitTurn(ctx) {
			return
		}
		user, key := w.choose()
		answer := w.ask(ctx, user, key)
		if key == "" || !answer.Indeterminate() || w.random.Float64() >= w.options.RetryShare {
			w.pause(ctx, answer)
			continue
		}
		for range retriesMax {
			if w.pause(ctx, answer); ctx.Err() != nil {
				return
			}
			if answer = w.ask(ctx, user, key); !answer.Indeterminate() && answer != ledger.NotSent {
				break
			}
		}
	}
}

// awaitTurn spaces the requests evenly. What a standstill has made late is not made up for: a burst
// after each fault would measure the burst. False: ctx is done.
func (w *worker) awaitTurn(ctx context.Context) bool {
	select {
	case <-w.options.PacedUntil:
		return true
	default:
	}
	if w.options.PerSecond == 0 {
		return true
	}
	w.mu.Lock()
	w.turn = w.turn.Add(time.Second / time.Duration(w.options.PerSecond))
	if now := time.Now(); w.turn.Before(now) {
		w.turn = now
	}
	turn := w.turn
	w.mu.Unlock()
	timer := time.NewTimer(time.Until(turn))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.options.PacedUntil:
	case <-timer.C:
	}
	return true
}

// choose picks who asks next, and with which key. A user's usual key follows from its number, so
// that a twin on another connection uses the same one.
func (w *worker) choose() (user int64, key string) {
	number := w.users.Add(1) - 1
	twin := w.random.Float64() < w.options.TwinShare
	if twin {
		number = max(0, number-w.random.Int64N(int64(2*w.options.Workers)))
	}
	if w.options.UsersMax > 0 {
		number %= w.options.UsersMax
	}
	user = w.options.FirstUser + number
	key = "k-" + strconv.FormatInt(user, 10)
	switch {
	case w.random.Float64() < w.options.KeylessShare:
		return user, ""
	case twin && w.random.IntN(2) == 0:
		return user, key + "-other"
	}
	return user, key
}

// pause gives a service that is not there a moment, so that the load does not burn a core on it.
func (w *worker) pause(ctx context.Context, answer ledger.Answer) {
	if answer != ledger.NotSent && !answer.Indeterminate() {
		return
	}
	sleep(ctx, retryPause)
}

// sleep tells whether it was not ended by ctx.
func sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *worker) ask(ctx context.Context, user int64, key string) ledger.Answer {
	if n := w.requests.Add(1); w.options.RequestsMax > 0 && n > w.options.RequestsMax {
		w.stop()
		return ledger.Invalid
	}
	if ctx.Err() != nil {
		return ledger.Invalid
	}
	entry, failure := Ask(w.client, w.options.Coupon, user, key)
	w.note(entry, failure)
	return entry.Answer
}

// Ask asks once for a coupon; "" is no key. Returns what belongs into the journal, and what went wrong
// when a request was sent and got no readable answer.
func Ask(client *wire.Client, coupon, user int64, key string) (entry ledger.Entry, failure string) {
	headers := []string{"userId: " + strconv.FormatInt(user, 10)}
	if key != "" {
		headers = append(headers, "Idempotency-Key: "+key)
	}
	path := "/coupons/" + strconv.FormatInt(coupon, 10) + "/issue"
	request := wire.Request(http.MethodPost, path, headers, "")

	entry = ledger.Entry{User: user, Key: key, Coupon: coupon, InvokeNs: now()}
	response, err := client.Do(http.MethodPost, request)
	entry.DoneNs = now()
	entry.Answer, entry.RequestID, failure = classify(response, err)
	return entry, failure
}

var started = time.Now()

// now is the time of day, and yet never jumps.
func now() int64 { return started.UnixNano() + int64(time.Since(started)) }

func (w *worker) note(entry ledger.Entry, failure string) {
	if w.options.Journal != nil {
		w.options.Journal.Add(entry)
	}
	if w.options.Observe != nil {
		w.options.Observe(entry)
	}
	if entry.Answer == ledger.SoldOut && w.soldOut.Add(1) == w.options.SoldOutMax {
		w.stop()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.Answers[entry.Answer]++
	// Enough kinds to see what goes wrong; an error text that never repeats must not fill the memory.
	if _, known := w.result.Failures[failure]; failure != "" && (known || len(w.result.Failures) < 50) {
		w.result.Failures[failure]++
	}
}

var answersByCode = map[string]ledger.Answer{
	"CP101": ledger.SoldOut, "CP102": ledger.Duplicate, "CP103": ledger.NotFound, "CP105": ledger.NotOpen,
	"CM400": ledger.Invalid, "CM404": ledger.Invalid, "CM405": ledger.Invalid, "CM413": ledger.Invalid,
	"CM431": ledger.Invalid, "CM429": ledger.RateLimited, "CM503": ledger.Unavailable,
	"CM504": ledger.Unknown, "CM500": ledger.Unknown,
}

// classify tells what an exchange means for the ledger. Whatever is not surely a refusal may have
// been carried out.
func classify(response *wire.Response, err error) (answer ledger.Answer, requestID, failure string) {
	if errors.Is(err, wire.ErrNotSent) {
		return ledger.NotSent, "", ""
	}
	if err != nil {
		return ledger.Unknown, "", failureKind(err)
	}
	var body struct {
		Code      string `json:"code"`
		RequestID string `json:"requestId"`
		Status    string `json:"status"`
	}
	if err := json.Unmarshal(response.Body, &body); err != nil {
		return ledger.Unknown, "", "unreadable answer, status " + strconv.Itoa(response.Status)
	}
	if response.Status == http.StatusOK && body.Status == "QUEUED" {
		return ledger.Queued, body.RequestID, ""
	}
	answer, known := answersByCode[body.Code]
	if !known || response.Status < 400 {
		return ledger.Unknown, "", "unexpected answer, status " + strconv.Itoa(response.Status)
	}
	return answer, "", ""
}
