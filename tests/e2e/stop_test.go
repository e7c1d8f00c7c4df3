package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/stack"
	"ecom/tests/wire"
)

func freeze(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }
func thaw(pid int) error   { return syscall.Kill(pid, syscall.SIGCONT) }

func TestStopUnderLoadFailsNoRequestAndLosesNoView(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*stack.Program){
		"by SIGTERM": func(p *stack.Program) { p.Signal(syscall.SIGTERM) },
		"by SIGINT":  func(p *stack.Program) { p.Signal(syscall.SIGINT) },
		"by Ctrl-C":  (*stack.Program).Interrupt,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stack.New(t, stack.DataDir(t), "COUPON_STOCK=1000000")
			program := s.Start()
			c := startCampaign(t, s, campaign.Usual(16, 1))
			readers := startReaders(t, s.HTTP, 4)
			c.AwaitPromises(1000, 30*time.Second)
			if !stack.Until(30*time.Second, func() bool { return readers.answered.Load() >= 1000 }) {
				t.Fatal("the products are not read")
			}

			end(program)
			if code := program.AwaitEnd(stack.StopWithin); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if left := s.Processes(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			c.Stop()
			result := c.Finish(answerWithin)
			readers.stop()
			if len(result.Failures) > 0 || result.Answers[ledger.Unknown] > 0 {
				t.Errorf("requests failed that had been sent: %v, of %v", result.Failures, result.Answers)
			}
			for _, failure := range readers.failures {
				t.Error("a read failed that had been sent: ", failure)
			}
			counted := queryNumber(t, s.DataDir, "SELECT view_count FROM products WHERE id = 7")
			if answered := readers.answered.Load(); counted != answered {
				t.Errorf("%d views in the file, %d reads were answered", counted, answered)
			}
			s.Start()
			c.RequireClean()
		})
	}
}

// readers read product 7 as fast as they can.
type readers struct {
	answered atomic.Int64
	quit     chan struct{}
	running  sync.WaitGroup
	once     sync.Once

	mu       sync.Mutex
	failures []string // the first few
}

func startReaders(t *testing.T, addr string, count int) *readers {
	r := &readers{quit: make(chan struct{})}
	for range count {
		r.running.Go(func() {
			client := wire.NewClient(addr, answerWithin)
			defer client.Close()
			for !r.stopped() {
				r.read(client)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

func (r *readers) stopped() bool {
	select {
	case <-r.quit:
		return true
	default:
		return false
	}
}

func (r *readers) stop() {
	r.once.Do(func() { close(r.quit) })
	r.running.Wait()
}

func (r *readers) read(client *wire.Client) {
	response, err := client.Do(http.MethodGet, wire.Request(http.MethodGet, "/products/7", nil, ""))
	if errors.Is(err, wire.ErrNotSent) || err == nil && response.Status == http.StatusServiceUnavailable {
		select { // it is going down; do not spin
		case <-r.quit:
		case <-time.After(5 * time.Millisecond):
		}
		return
	}
	if err == nil && response.Status == http.StatusOK {
		r.answered.Add(1)
		return
	}
	failure := fmt.Sprint(err)
	if err == nil {
		failure = fmt.Sprintf("%d %s", response.Status, response.Body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) < 5 {
		r.failures = append(r.failures, failure)
	}
}
