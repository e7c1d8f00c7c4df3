package chaos

import (
	"maps"
	"slices"
	"time"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

// mysqlKilled kills the database in the middle of its COMMITs, which leaves their outcome open.
func mysqlKilled(x *trial) {
	const kills = 5
	x.load(24000)
	for range kills {
		x.progress(500 + x.random.Int64N(1000))
		x.s.Kill("mysql")
		x.progress(500) // QUEUED goes on
		x.s.Up("mysql")
		x.recordsAgain(time.Now())
	}
	x.settle()
}

// recordsAgain waits for the first row after the moment at which the database is back.
func (x *trial) recordsAgain(healed time.Time) {
	x.t.Helper()
	before := x.rowCount()
	if !stack.Until(campaign.DrainWithin, func() bool { return x.rowCount() > before }) {
		x.t.Errorf("no new row within %v", campaign.DrainWithin)
	}
	took := time.Since(healed)
	x.recoveries = append(x.recoveries, took)
	x.row.Count++
	if took > processBackWithin {
		x.t.Errorf("recorded again after %v, want at most %v", took, processBackWithin)
	}
}

// mysqlDown has the database away for longer than any retry: the log holds what comes meanwhile.
func mysqlDown(x *trial) {
	x.load(60000, func(o *load.Options) { o.PerSecond = 1000 })
	x.s.Kill("mysql")
	before := x.c.Count(ledger.Queued)
	x.during(30 * time.Second)
	promised := x.c.Count(ledger.Queued) - before
	x.t.Logf("%d answers QUEUED while the database was down", promised)
	if promised < 10000 {
		x.t.Errorf("only %d answers QUEUED in 30 s without the database", promised)
	}
	x.s.Up("mysql")
	x.recordsAgain(time.Now())
	drained := time.Now()
	x.recordedUpToNow()
	x.t.Logf("the lag was gone after %v", time.Since(drained).Round(time.Millisecond))
	x.settle()
}

// storesChanged tampers with what the real stores hold of a coupon that is sold out, where nothing runs that
// could repair it: the ledger that reads them must see each change, and nothing else.
func storesChanged(x *trial) {
	x.load(1500)
	x.settle()
	x.stop()
	user := x.onceAsked()
	for _, change := range []struct {
		name     string
		do, undo func()
		want     []string // invariants
	}{
		{"a row is gone", func() {
			x.exec("UPDATE coupon_issues SET coupon_id = ? WHERE coupon_id = ? AND user_id = ?", -x.coupon, x.coupon, user)
		}, func() {
			x.exec("UPDATE coupon_issues SET coupon_id = ? WHERE coupon_id = ?", x.coupon, -x.coupon)
		}, []string{"I1", "I3", "I5", "I7", "I8"}},
		{"a row has another request", func() {
			x.exec("UPDATE coupon_issues SET request_id = REVERSE(request_id) WHERE coupon_id = ? AND user_id = ?", x.coupon, user)
		}, func() {
			x.exec("UPDATE coupon_issues SET request_id = REVERSE(request_id) WHERE coupon_id = ? AND user_id = ?", x.coupon, user)
		}, []string{"I2", "I8"}},
		{"a unit too many is available", func() {
			x.exec("UPDATE coupons SET available_quantity = available_quantity + 1 WHERE id = ?", x.coupon)
		}, func() {
			x.exec("UPDATE coupons SET available_quantity = available_quantity - 1 WHERE id = ?", x.coupon)
		}, []string{"I3", "I7"}},
		{"a claim is rejected", func() {
			x.exec("INSERT INTO coupon_rejections VALUES (?, 7, 'x', 'x', UTC_TIMESTAMP(6))", x.coupon)
		}, func() { x.exec("DELETE FROM coupon_rejections WHERE coupon_id = ?", x.coupon) }, []string{"I7"}},
		{"a participant is gone", func() { x.redis("SREM", x.key("participants"), user) },
			func() { x.redis("SADD", x.key("participants"), user) }, []string{"I7"}},
		{"a reservation is left", func() { x.redis("HSET", x.key("reservations"), user, "x:1") },
			func() { x.redis("HDEL", x.key("reservations"), user) }, []string{"I7"}},
		{"the gate is of another generation", func() { x.redis("HINCRBY", x.key("meta"), "generation", 1) },
			func() { x.redis("HINCRBY", x.key("meta"), "generation", -1) }, []string{"I7"}},
		{"nothing", func() {}, func() {}, nil},
	} {
		x.row.Count++
		change.do()
		report, _ := x.c.Verdict(0)
		change.undo()
		found := map[string]bool{}
		for _, defect := range report.Defects {
			found[defect.Invariant] = true
		}
		if broken := slices.Sorted(maps.Keys(found)); !slices.Equal(broken, change.want) {
			x.t.Errorf("%s: the ledger says that %v are broken, want %v: %+v", change.name, broken, change.want, report.Defects)
		}
	}
}

// onceAsked is a user who asked once and was promised a coupon.
func (x *trial) onceAsked() int64 {
	x.t.Helper()
	asked := map[int64]int{}
	promised := x.entries(func(e *ledger.Entry) bool { asked[e.User]++; return e.Answer == ledger.Queued })
	at := slices.IndexFunc(promised, func(e ledger.Entry) bool { return asked[e.User] == 1 })
	if at < 0 {
		x.t.Fatal("every user asked more than once")
	}
	return promised[at].User
}
