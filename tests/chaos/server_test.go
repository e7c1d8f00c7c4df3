package chaos

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
	"ecom/tests/wire"
)

// answerWithin is past every deadline of the service.
const answerWithin = 15 * time.Second

func serverKilled(x *trial) {
	const kills, stride = 20, 700
	x.load(kills*stride + 2000)
	for range kills {
		x.progress(1 + x.random.Int64N(2*stride-600))
		x.s.Kill("ecom-server")
		x.recovered(time.Now(), processBackWithin)
	}
	x.settle()
}

func serverStopped(x *trial) {
	x.load(10000)
	x.progress(1000)
	x.stop() // requires exit code 0
	if left := x.s.Find("ecom-"); left != 0 {
		x.t.Errorf("left behind: %v", x.s.Processes())
	}
	x.start(x.rig.s)
	x.recovered(time.Now(), processBackWithin)
	x.settle()
	result := x.c.Result
	if len(result.Failures) > 0 || result.Answers[ledger.Unknown] > 0 {
		x.t.Errorf("requests failed that had been sent: %v, of %v", result.Failures, result.Answers)
	}
}

// answersLost hangs up on answers, and asks again.
func answersLost(x *trial) {
	const first, users = 1_000_000, 100
	x.load(4000, func(o *load.Options) { o.PerSecond = 500 })
	for user := int64(first); user < first+users; user++ {
		key := fmt.Sprintf("lost-%d", user)
		x.ask(user, key, time.Duration(x.random.Int64N(int64(3*time.Millisecond)))+time.Microsecond)
		again := x.ask(user, key, answerWithin)
		x.row.Count++
		if again.Answer != ledger.Queued {
			x.t.Errorf("user %d, the same key: %v", user, again.Answer)
			continue
		}
		for _, other := range []string{"", key + "-other"} {
			if entry := x.ask(user, other, answerWithin); entry.Answer != ledger.Duplicate {
				x.t.Errorf("user %d, key %q: %v", user, other, entry.Answer)
			}
		}
		x.recorded(user)
		if entry := x.ask(user, key, answerWithin); entry.RequestID != again.RequestID {
			x.t.Errorf("user %d: %s, and once it is recorded %v %s", user, again.RequestID, entry.Answer, entry.RequestID)
		}
	}
	x.settle()
}

// recorded waits until the user's claim is a row.
func (x *trial) recorded(user int64) {
	x.t.Helper()
	client := wire.NewClient(x.s.HTTP, answerWithin)
	defer client.Close()
	request := wire.Request(http.MethodGet, fmt.Sprintf("/coupons/%d/issue", x.coupon),
		[]string{fmt.Sprintf("userId: %d", user)}, "")
	issued := stack.Until(answerWithin, func() bool {
		response, err := client.Do(http.MethodGet, request)
		return err == nil && response.Status == http.StatusOK && strings.Contains(string(response.Body), `"ISSUED"`)
	})
	if !issued {
		x.t.Errorf("user %d has no row", user)
	}
}

// ask asks once, beside the load, and gives up after the timeout.
func (x *trial) ask(user int64, key string, timeout time.Duration) ledger.Entry {
	return x.askAt(x.s.HTTP, user, key, timeout)
}

func (x *trial) askAt(addr string, user int64, key string, timeout time.Duration) ledger.Entry {
	client := wire.NewClient(addr, timeout)
	defer client.Close()
	entry, _ := load.Ask(client, x.coupon, user, key)
	x.c.Note(entry)
	return entry
}

// twins asks 200 times at once for one user, with keys as they come.
func twins(x *trial) {
	const first, users, requests = 1_000_000, 10, 200
	x.load(4000)
	for user := int64(first); user < first+users; user++ {
		keys := []string{fmt.Sprintf("twin-%d", user)}
		for range (user - first) % 3 { // one key, two, three
			keys = append(keys, fmt.Sprintf("twin-%d-%d", user, len(keys)))
		}
		answers := make([]ledger.Entry, requests)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i] = x.ask(user, keys[i%len(keys)], answerWithin) })
		}
		all.Wait()
		x.row.Count += requests
		owners := map[string]bool{}
		for _, answer := range answers {
			switch answer.Answer {
			case ledger.Queued:
				owners[answer.Key] = true
			case ledger.Duplicate:
			default:
				x.t.Errorf("user %d: %v", user, answer.Answer)
			}
		}
		if len(owners) != 1 {
			x.t.Errorf("user %d was promised a coupon by the keys %v", user, owners)
		}
	}
	x.settle()
}

// failpointServer starts, in the place of `make run`, a server whose failpoints do as they are told, and a
// gateway before it.
func (x *trial) failpointServer(name, roles, failpoints string, settings ...string) *stack.Server {
	x.t.Helper()
	return x.s.WithServer("ecom-server-failpoints", "FAILPOINTS="+failpoints).StartServer(name, roles, settings...)
}

const allRoles = "api,recorder,reconciler"

// serverKilledAtFailpoints kills the server between any two steps of a claim's way.
func serverKilledAtFailpoints(x *trial) {
	points := []string{"issuer.after-gate", "writer.before-append", "writer.after-append",
		"recorder.after-rows", "recorder.after-events", "recorder.after-commit"}
	x.killedAt(points, 3, 12000)
}

// recorderKilledAfterRows is the crash that makes the log deliver again what is a row already.
func recorderKilledAfterRows(x *trial) {
	report := x.killedAt([]string{"recorder.after-rows"}, 20, 14000)
	x.t.Logf("announced again: %d", report.Coupons[0].EventsRepeated)
}

func (x *trial) killedAt(points []string, times int, stock int64) *ledger.Report {
	x.t.Helper()
	x.stop()
	folder := x.t.TempDir()
	var failpoints []string
	for _, point := range points {
		failpoints = append(failpoints, point+"=kill:"+filepath.Join(folder, point))
	}
	start := func() *stack.Server { return x.failpointServer("failpoints", allRoles, strings.Join(failpoints, ";")) }
	server := start()
	gateway := x.s.StartGateway(server)
	x.awaitReady(gateway)
	x.load(stock, func(o *load.Options) { o.Addrs = []string{gateway.HTTP} })
	for range times {
		for _, point := range points {
			x.progress(1 + x.random.Int64N(400))
			if err := os.WriteFile(filepath.Join(folder, point), nil, 0o644); err != nil {
				x.t.Fatal(err)
			}
			server.AwaitEnd(answerWithin)
			server = start()
			x.recovered(time.Now(), processBackWithin)
		}
	}
	return x.settle()
}

func (x *trial) awaitReady(gateway *stack.Gateway) {
	x.t.Helper()
	if !stack.Until(stack.ReadyWithin, func() bool { return isReady(gateway.Admin) }) {
		x.t.Fatal("the gateway is not ready")
	}
}

// isReady asks a process, by its admin address, whether it is.
func isReady(admin string) bool {
	client := wire.NewClient(admin, time.Second)
	defer client.Close()
	response, err := client.Do(http.MethodGet, wire.Request(http.MethodGet, "/health/ready", nil, ""))
	return err == nil && response.Status == http.StatusOK
}

// member is one of several servers.
type member struct {
	name, roles string
	server      *stack.Server
}

// manyServersKilled has the load go to three api servers at once, while two others record.
func manyServersKilled(x *trial) {
	x.stop()
	members := []*member{
		{name: "api-1", roles: "api"}, {name: "api-2", roles: "api"}, {name: "api-3", roles: "api"},
		{name: "recorder-1", roles: "recorder,reconciler"}, {name: "recorder-2", roles: "recorder"},
	}
	const settings = "ECOM_RECORDERS=1" // so that neither recorder is idle: there are three partitions
	var addrs []string
	for _, m := range members {
		m.server = x.s.StartServer(m.name, m.roles, settings)
	}
	for _, m := range members[:3] {
		gateway := x.s.StartGateway(m.server)
		x.awaitReady(gateway)
		addrs = append(addrs, gateway.HTTP)
	}
	x.load(60000, func(o *load.Options) { o.Addrs, o.TwinShare, o.PerSecond = addrs, 0.2, 1000 })
	for range 2 {
		for _, m := range members {
			x.progress(1 + x.random.Int64N(500))
			m.server.Signal(syscall.SIGKILL)
			m.server.AwaitEnd(answerWithin)
			m.server = x.s.StartServer(m.name, m.roles, settings)
			started := time.Now()
			x.recovered(started, processBackWithin) // there are others
			if strings.HasPrefix(m.name, "recorder") {
				x.recordedUpToNow()
				if took := time.Since(started); took > recordedBackWithin {
					x.t.Errorf("%s: its partitions are recorded again after %v", m.name, took)
				}
			} else if !stack.Until(processBackWithin, func() bool { return isReady(m.server.Admin) }) {
				x.t.Errorf("%s is not ready within %v", m.name, processBackWithin)
			}
		}
	}
	// A recorder that stands still until its partitions are another one's, and then wakes up.
	zombie := members[len(members)-2]
	zombie.server.Signal(syscall.SIGSTOP)
	x.recordedUpToNow()
	zombie.server.Signal(syscall.SIGCONT)
	x.progress(1000)
	x.recordedUpToNow()
	// A recorder that does not come back: the other one takes its partitions over.
	last := members[len(members)-1]
	last.server.Signal(syscall.SIGKILL)
	last.server.AwaitEnd(answerWithin)
	killed := time.Now()
	x.recordedUpToNow()
	x.t.Logf("taken over after %v; %d requests promised by then", time.Since(killed).Round(time.Millisecond),
		x.c.Count(ledger.Queued))
	x.settle()
}

// recordedUpToNow waits until all that is in the log now is recorded.
func (x *trial) recordedUpToNow() {
	x.t.Helper()
	ends, err := x.admin.ListEndOffsets(x.ctx, logTopic)
	if err != nil {
		x.t.Fatal(err)
	}
	recorded := stack.Until(campaign.DrainWithin, func() bool {
		committed, err := x.admin.FetchOffsets(x.ctx, logGroup)
		if err != nil {
			return false
		}
		for partition, end := range ends[logTopic] {
			if offset, _ := committed.Lookup(logTopic, partition); offset.At < end.Offset {
				return false
			}
		}
		return true
	})
	if !recorded {
		x.t.Errorf("the log is not recorded within %v", campaign.DrainWithin)
	}
}
