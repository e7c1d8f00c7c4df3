// Package runbook does what docs/runbook says: it breaks what a page is about, under load, and runs each
// command of the page as it stands there. The commands under "Verify" must fail before and succeed after.
//
// It runs in namespaces of its own: the pages have the addresses and names that are in use on a real
// machine, and their commands must not find what runs beside the test.
package runbook

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

const insideVariable = "RUNBOOK_NAMESPACE"

func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) == "" {
		os.Exit(enterNamespaces())
	}
	if output, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "no loopback: %v\n%s", err, output)
		os.Exit(1)
	}
	stack.Main(m)
}

// enterNamespaces runs this test again where there is no network, no process and no load but its own, and
// returns its exit code. Whatever it leaves behind ends with it.
func enterNamespaces() int {
	arguments := []string{"--net", "--pid", "--mount-proc", "--fork", "--kill-child"}
	if os.Getuid() != 0 {
		arguments = append(arguments, "--map-root-user")
	}
	inside := exec.Command("unshare", append(append(arguments, "--"), os.Args...)...)
	inside.Env = append(os.Environ(), insideVariable+"=yes")
	inside.Stdout, inside.Stderr = os.Stdout, os.Stderr
	if err := inside.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A walk goes through a page in one of the cases that it is about.
type walk struct {
	page string
	// name is what marks the blocks for this case alone; "" when the page has but one.
	name string
	// begin breaks what the page is about; nil: nothing is broken.
	begin func(*rig)
	// heals tells that it mends itself, so that "Verify" may be fine at any time.
	heals bool
}

// walks while claims come in that break no promise, so that the ledger of all of them must be clean.
var walks = []walk{
	{page: "DeadLetters", name: "garbage", begin: poisonLog},
	{page: "DeadLetters", name: "claim", begin: deleteCoupon},
	{page: "DuringASale"},
	{page: "GateDrift", begin: changeRow},
	{page: "HttpErrors", begin: killRedis},
	{page: "GateClosed", begin: killRedis},
	{page: "RedisLost", name: "process", begin: killRedis},
	{page: "RedisLost", name: "data", begin: killRedis},
	{page: "HttpSlow", begin: pauseRedis},
	{page: "KafkaLost", name: "process", begin: killKafka},
	{page: "ConsumerStalled", name: "frozen", begin: freezeRecorder},
	{page: "RowsLate", begin: lateRows, heals: true},
	{page: "QueuedPromiseBurn", begin: lateRows, heals: true},
	{page: "ConsumerStalled", name: "dead", begin: killRecorder},
	{page: "ConsumerStalled", name: "locked", begin: lockRow},
	{page: "ConsumerLag", begin: burst, heals: true},
	{page: "TargetDown", name: "frozen", begin: freezeGateway},
	{page: "TargetDown", name: "hung", begin: freezeGateway},
	{page: "TargetDown", name: "gone", begin: killSupervisor},
	{page: "Rollback"},
}

// Nobody claims then, so that nothing is on its way.
var before, after = walk{page: "BeforeASale"}, walk{page: "AfterASale"}

// losses take away what the ledger needs, or a promise.
var losses = []walk{
	{page: "KafkaLost", name: "data", begin: killKafka},
	{page: "PromiseBroken", begin: takeUnits},
}

// withoutCommands are pages that have none.
var withoutCommands = []string{"Capacity", "README"}

func TestEachCommandOfEachPageIsInAWalk(t *testing.T) {
	walked := map[string][]string{}
	for _, w := range slices.Concat(walks, losses, []walk{before, after}) {
		walked[w.page] = append(walked[w.page], w.name)
	}
	for _, name := range pageNames(t) {
		page := readPage(t, name)
		if slices.Contains(withoutCommands, name) {
			if len(page.commands) > 0 {
				t.Errorf("%s has commands", name)
			}
			continue
		}
		if len(walked[name]) == 0 {
			t.Errorf("%s is not walked through", name)
		}
		for _, c := range page.commands {
			if c.only != "" && !slices.Contains(walked[name], c.only) {
				t.Errorf("%s: nobody is in the case %q", name, c.only)
			}
		}
		for _, case_ := range walked[name] {
			if case_ != "" && !slices.ContainsFunc(page.commands, func(c command) bool { return c.only == case_ }) {
				t.Errorf("%s has nothing for the case %q", name, case_)
			}
		}
		for _, span := range page.unblocked {
			t.Errorf("%s: `%s` is in no block, so nobody runs it", name, span)
		}
		if !slices.Contains(page.sections, "Verify") && name != "BeforeASale" {
			t.Errorf("%s does not say how to verify", name)
		}
	}
}

func TestThePagesDoWhatTheySay(t *testing.T) {
	r := newRig(t)
	r.walk(before)
	r.startLoad()
	for _, w := range walks {
		r.walk(w)
	}
	r.finishLoad()
	r.walk(after)
	r.startLoad()
	for _, w := range losses {
		r.walk(w)
	}
}

// --- What is broken ---

func poisonLog(r *rig) {
	r.shell("echo garbage | kcat -P -b 127.0.0.1:9092 -t coupon-issue -p 0 -k 1")
	r.awaitLetter("none of ours")
}

// deleteCoupon lets a claim on a coupon be recorded after the coupon is gone.
func deleteCoupon(r *rig) {
	r.freeze(r.recorder)
	r.claim(2, 777)
	r.exec("DELETE FROM coupons WHERE id = 2")
	r.signal(r.recorder, syscall.SIGCONT)
	r.awaitLetter("claim of user 777 on coupon 2")
}

func changeRow(r *rig) {
	r.exec("UPDATE coupons SET available_quantity = available_quantity + 1 WHERE id = 2")
}

func killRedis(r *rig) {
	r.s.Kill("redis")
	r.awaitAnswer(ledger.Unavailable)
}

func killKafka(r *rig) {
	r.s.Kill("kafka")
	r.awaitAnswer(ledger.Unavailable)
}

func pauseRedis(r *rig) {
	r.shell("redis-cli CLIENT PAUSE 30000 WRITE")
}

func freezeRecorder(r *rig) {
	r.freeze(r.recorder)
	r.awaitPromises(200)
}

func killRecorder(r *rig) {
	r.signal(r.recorder, syscall.SIGKILL)
	r.awaitPromises(200)
}

// lockRow is what a person does who changes a coupon and forgets to commit.
func lockRow(r *rig) {
	r.recorder = r.pidByPort(8083) // which the page has started
	session, err := r.db.BeginTx(r.t.Context(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	// Ended by the page; this only gives the connection back.
	r.atEnd(func() { _ = session.Rollback() })
	if _, err := session.ExecContext(r.t.Context(), "UPDATE coupons SET name = 'a better name' WHERE id = 1"); err != nil {
		r.t.Fatal(err)
	}
	r.awaitPromises(200)
}

// lateRows lets the claims that wait grow older than the promise allows.
func lateRows(r *rig) {
	began := time.Now()
	r.freeze(r.recorder)
	stack.Until(2*promisedWithin, func() bool { return time.Since(began) > promisedWithin+time.Second })
	r.signal(r.recorder, syscall.SIGCONT)
}

func burst(r *rig) {
	const claims = 6000
	r.atEnd(func() { r.signal(r.pidByPort(8084), syscall.SIGKILL) }) // the page's second recorder
	r.recorder = r.pidByPort(8083)
	r.freeze(r.recorder)
	result := load.Run(r.t.Context(), load.Options{Addrs: []string{restAddr}, Coupon: 1, Workers: 32, FirstUser: 10_000_000, RequestsMax: claims})
	r.signal(r.recorder, syscall.SIGCONT)
	if result.Answers[ledger.Queued] < claims*9/10 {
		r.t.Errorf("of %d claims: %+v", claims, result)
	}
}

func freezeGateway(r *rig) { r.s.Freeze("ecom-gateway") }

func killSupervisor(r *rig) {
	r.signal(r.supervisor(), syscall.SIGKILL)
	if !stack.Until(stack.RestartWithin, func() bool { return r.s.Find("ecom-gateway") == 0 }) {
		r.t.Error("the gateway outlives what has started it")
	}
}

// takeUnits takes away what the gate is just giving out.
func takeUnits(r *rig) {
	r.recorder = r.pidByPort(8083)
	r.freeze(r.recorder)
	r.awaitPromises(50)
	r.exec("UPDATE coupons SET available_quantity = 0 WHERE id = 1")
	r.signal(r.recorder, syscall.SIGCONT)
	if !stack.Until(stack.ReadyWithin, func() bool {
		var count int
		err := r.db.QueryRowContext(r.t.Context(), "SELECT COUNT(*) FROM coupon_rejections").Scan(&count)
		return err == nil && count >= 50
	}) {
		r.t.Error("no promise was broken")
	}
}
