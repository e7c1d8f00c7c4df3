package chaos

import (
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
	x.load(32000, func(o *load.Options) { o.PerSecond = 1000 })
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
