package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

func redisKilled(x *trial) {
	x.load(16000)
	for range 3 {
		x.progress(1000)
		x.s.Kill("redis")
		x.await(ledger.Unavailable, 20)
		x.s.Up("redis")
		x.recovered(time.Now(), gateBackWithin)
	}
	x.settle()
}

func redisEmptied(x *trial) {
	x.load(10000)
	x.progress(2000)
	x.s.Kill("redis")
	x.await(ledger.Unavailable, 20)
	files, err := filepath.Glob(x.s.StoreFile("redis", "appendonlydir"))
	if err != nil || len(files) == 0 {
		x.t.Fatalf("no files to delete: %v", err)
	}
	for _, file := range files {
		if err := os.RemoveAll(file); err != nil {
			x.t.Fatal(err)
		}
	}
	x.s.Up("redis")
	x.recovered(time.Now(), gateBackWithin)
	x.settle()
}

// keysTampered does to the gate's keys what people and scripts do to them in the middle of a campaign.
func keysTampered(x *trial) {
	x.load(20000)
	for _, command := range [][]any{
		{"FLUSHALL"},
		{"DEL", x.key("stock")},
		{"DEL", x.key("participants")},
		{"DEL", x.key("reservations")},
		{"DEL", x.key("meta")},
		{"SET", x.key("stock"), "5000"},
		{"PEXPIRE", x.key("stock"), "1"},
		{"PEXPIRE", x.key("participants"), "1"},
	} {
		x.progress(500)
		before := x.generation()
		if slices.Contains(command, any(x.key("reservations"))) {
			x.awaitReservations()
		}
		x.redis(command...)
		tampered := time.Now()
		// Before the gate is closed a promise may still be right: a key does not expire at once.
		if !stack.Until(gateBackWithin, func() bool { return x.generation() != before }) {
			x.t.Errorf("%v: the gate was not built anew", command)
		}
		closed := time.Now()
		x.recovered(closed, gateBackWithin-closed.Sub(tampered))
	}
	x.settle()
}

// replicaPromoted has the gate's Redis go on with what a replica knew that has missed the last admissions,
// as after a failover: its own history is gone, its connections stand.
func replicaPromoted(x *trial) {
	const missed = 500
	x.load(12000)
	x.progress(1000)
	gate, other := x.gate.Options().Addr, x.s.FreeAddr()
	host, port, _ := strings.Cut(other, ":")
	x.s.Run(x.t.TempDir(), "redis-server", "--bind", host, "--port", port, "--save", "", "--replicaof",
		strings.Replace(gate, ":", " ", 1))
	replica := redis.NewClient(&redis.Options{Addr: other})
	defer replica.Close()
	x.synchronized(replica)
	if err := replica.Do(x.ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
		x.t.Fatal(err)
	}
	x.progress(missed)
	x.redis("REPLICAOF", host, port)
	x.synchronized(x.gate)
	if lost := x.number("SELECT total_quantity - available_quantity FROM coupons WHERE id = ?", x.coupon) -
		x.gate.SCard(x.ctx, x.key("participants")).Val(); lost < missed/2 {
		x.t.Errorf("the replica has missed only %d admissions", lost)
	}
	x.redis("REPLICAOF", "NO", "ONE")
	x.recovered(time.Now(), gateBackWithin)
	x.settle()
}

// synchronized waits until a replica has what its primary had.
func (x *trial) synchronized(replica *redis.Client) {
	x.t.Helper()
	up := stack.Until(answerWithin, func() bool {
		info, err := replica.Info(x.ctx, "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
	if !up {
		x.t.Fatal("the replica does not come up")
	}
}

func (x *trial) key(what string) string {
	return "coupon:issue:async:" + what + ":" + itoa(x.coupon)
}

func (x *trial) redis(command ...any) {
	x.t.Helper()
	if err := x.gate.Do(x.ctx, command...).Err(); err != nil {
		x.t.Fatalf("%v: %v", command, err)
	}
}

// awaitReservations waits for a moment at which claims are on their way.
func (x *trial) awaitReservations() {
	x.t.Helper()
	found := stack.Until(answerWithin, func() bool {
		count, err := x.gate.HLen(x.ctx, x.key("reservations")).Result()
		return err == nil && count > 0
	})
	if !found {
		x.t.Fatal("no reservations under load")
	}
}

// refusedWithin is twice what one call of Redis may take, for a claim may wait for the batch before its
// own; and as much again for a busy machine.
const refusedWithin = 2 * time.Second

// redisFrozen has Redis take commands and not answer, which leaves their outcome open.
func redisFrozen(x *trial) {
	x.load(10000)
	x.progress(1000)

	x.s.Freeze("redis")
	began := time.Now()
	x.during(5 * time.Second)
	x.s.Thaw("redis")
	thawed := time.Now()
	x.recovered(thawed, processBackWithin)

	x.progress(500)
	x.redis("CLIENT", "PAUSE", "1000", "ALL")
	x.recovered(time.Now().Add(time.Second), processBackWithin)
	x.settle()

	slowest := time.Duration(0)
	for _, entry := range x.entries(func(e *ledger.Entry) bool {
		return e.InvokeNs > began.UnixNano() && e.InvokeNs < thawed.Add(-refusedWithin).UnixNano()
	}) {
		slowest = max(slowest, time.Duration(entry.DoneNs-entry.InvokeNs))
		if !entry.Answer.Indeterminate() {
			x.t.Errorf("while Redis was frozen: %v", entry.Answer)
		}
	}
	x.t.Logf("while Redis was frozen the slowest answer took %v", slowest)
	if slowest > refusedWithin {
		x.t.Errorf("while Redis was frozen an answer took %v, want at most %v", slowest, refusedWithin)
	}
	x.requireTimelyPromises()
}

// redisRefuses has Redis give every answer that is no answer.
func redisRefuses(x *trial) {
	x.load(24000)

	// Scripts that it does not know are loaded again, and nobody notices.
	x.progress(500)
	failed := x.c.Count(ledger.Unavailable) + x.c.Count(ledger.Unknown)
	x.redis("SCRIPT", "FLUSH")
	x.progress(1000)
	if now := x.c.Count(ledger.Unavailable) + x.c.Count(ledger.Unknown); now != failed {
		x.t.Errorf("SCRIPT FLUSH failed %d requests", now-failed)
	}

	x.redis("CONFIG", "SET", "maxmemory", "1") // OOM
	x.await(ledger.Unavailable, 50)
	x.redis("CONFIG", "SET", "maxmemory", "0")
	x.recovered(time.Now(), gateBackWithin)

	x.progress(500)
	x.redis("REPLICAOF", "127.0.0.1", "1") // READONLY
	x.await(ledger.Unavailable, 50)
	x.redis("REPLICAOF", "NO", "ONE")
	x.recovered(time.Now(), gateBackWithin)

	x.progress(500)
	x.redis("CONFIG", "SET", "busy-reply-threshold", "50") // BUSY
	endless := make(chan error, 1)
	go func() { endless <- x.gate.Eval(x.ctx, "while true do end", nil).Err() }()
	x.await(ledger.Unavailable, 50)
	x.redis("SCRIPT", "KILL")
	x.recovered(time.Now(), gateBackWithin)
	if err := <-endless; err == nil || !strings.Contains(err.Error(), "killed") {
		x.t.Errorf("the endless script: %v", err)
	}
	x.redis("CONFIG", "SET", "busy-reply-threshold", "5000")
	x.settle()
}

// A claim that the old gate admitted reaches the log late, at the moment that a rebuild can least use it.

func recordBeforeBarrier(x *trial) { x.lateRecord("rebuild.before-barrier") }

func recordBehindBarrier(x *trial) { x.lateRecord("rebuild.before-arm") }

func recordAfterSale(x *trial) { x.lateRecord("") }

// lateRecord has server A hold a claim between gate and log, flushes the gate, and lets go of the claim
// once server B has come to that point of the rebuild; "": once B has sold the coupon out.
func (x *trial) lateRecord(point string) {
	const stock, early, late = 2000, 900_001, 900_002
	x.stop()
	folder := x.t.TempDir()
	claim, rebuild := filepath.Join(folder, "claim"), filepath.Join(folder, "rebuild")
	failpoints := ""
	if point != "" {
		failpoints = point + "=wait:" + rebuild
		x.touch(rebuild) // B builds its first gates without a stop
	}
	b := x.failpointServer("b", allRoles, failpoints)
	a := x.failpointServer("a", "api", "writer.before-append=wait:"+claim+"@2")
	gatewayA, gatewayB := x.s.StartGateway(a), x.s.StartGateway(b)
	x.awaitReady(gatewayA)
	x.awaitReady(gatewayB)
	x.load(stock, func(o *load.Options) { o.Addrs = []string{gatewayB.HTTP} })

	if first := x.askAt(gatewayA.HTTP, early, "early", answerWithin); first.Answer != ledger.Queued {
		x.t.Fatalf("the first of A: %v", first.Answer)
	}
	answered := make(chan ledger.Entry, 1)
	go func() { answered <- x.askAt(gatewayA.HTTP, late, "late", answerWithin) }()
	x.reached(claim)
	if point != "" {
		x.remove(rebuild, rebuild+".reached")
	}
	x.redis("FLUSHALL")
	flushed := time.Now()
	if point != "" {
		x.reached(rebuild)
		x.touch(claim)
		x.answered(answered)
		x.touch(rebuild)
		x.recovered(flushed, answerWithin)
	} else {
		x.recovered(flushed, gateBackWithin)
		stack.Until(60*time.Second, x.c.Ended)
		x.touch(claim)
		x.answered(answered)
	}
	x.settle()
}

// answered waits for the answer to the claim that came late: never a promise, for it came after the
// deadline within which a rebuild waits for promises.
func (x *trial) answered(answers <-chan ledger.Entry) {
	x.t.Helper()
	entry := <-answers
	x.t.Logf("the late claim: %v after %v", entry.Answer, time.Duration(entry.DoneNs-entry.InvokeNs))
	if !entry.Answer.Indeterminate() {
		x.t.Errorf("the late claim was answered %v", entry.Answer)
	}
}

func (x *trial) touch(path string) {
	x.t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		x.t.Fatal(err)
	}
}

func (x *trial) remove(paths ...string) {
	x.t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			x.t.Fatal(err)
		}
	}
}

// reached waits until a server waits at a failpoint.
func (x *trial) reached(path string) {
	x.t.Helper()
	if !stack.Until(answerWithin, func() bool { _, err := os.Stat(path + ".reached"); return err == nil }) {
		x.t.Fatalf("no server came to %s", filepath.Base(path))
	}
}
