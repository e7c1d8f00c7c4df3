package chaos

import (
	"time"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

// caught requires that the ledger does not let a broken server pass, for the reason that it was broken in.
func (x *trial) caught(invariants ...string) {
	x.t.Helper()
	x.c.Stop()
	x.c.Finish(answerWithin)
	report, _ := x.c.Verdict(3 * time.Second)
	x.note(report)
	x.settled = true
	x.t.Logf("%s", campaign.Text(x.t, report))
	found := map[string]bool{}
	for _, defect := range report.Defects {
		found[defect.Invariant] = true
	}
	for _, invariant := range invariants {
		if !found[invariant] {
			x.t.Errorf("the ledger let a broken server pass: no defect of %s", invariant)
		}
	}
}

// broken has `make run` start that server until the trial ends.
func (x *trial) broken(name string, settings ...string) {
	x.t.Helper()
	x.stop()
	x.start(x.rig.s.WithServer("ecom-server-broken-"+name, settings...))
	x.t.Cleanup(x.stop) // before the trial's end, which starts the right one
}

func brokenFreshStock(x *trial) {
	x.broken("fresh-stock", "ECOM_ROLES=api,recorder") // a reconciler would notice within a second
	x.load(6000, func(o *load.Options) { o.PerSecond, o.SoldOutMax = 0, 0 })
	x.progress(4000)
	x.redis("FLUSHALL")
	x.row.Count++
	refused := x.c.Count(ledger.SoldOut)
	x.await(ledger.Queued, 500)
	// Until the store's rejections have the gate rebuilt.
	stack.Until(answerWithin, func() bool { return x.c.Count(ledger.SoldOut) > refused })
	x.recordedUpToNow()
	x.caught("I1", "I7")
}

func brokenSlotGivenBack(x *trial) {
	x.broken("slot-given-back")
	x.load(4000, func(o *load.Options) { o.SoldOutMax = 0 })
	x.s.Freeze("mysql")
	x.row.Count++
	stack.Until(30*time.Second, func() bool { return x.c.Count(ledger.Queued) > 6000 })
	x.s.Thaw("mysql")
	x.recordedUpToNow()
	x.caught("I1", "I7")
}

func brokenOffsetBeforeCommit(x *trial) {
	x.broken("offset-before-commit")
	x.load(20000)
	x.killReaderBeforeRows()
	x.caught("I1")
}

// readerKilledBeforeRows is what catches that broken server; the right one passes.
func readerKilledBeforeRows(x *trial) {
	x.load(12000)
	x.killReaderBeforeRows()
	x.settle()
}

// killReaderBeforeRows kills the server when it has read a batch and cannot make rows of it, and takes the
// gate's memory of these claims, too: what the log does not deliver again now is lost.
func (x *trial) killReaderBeforeRows() {
	x.t.Helper()
	x.progress(500)
	x.s.Freeze("mysql")
	x.during(2 * time.Second) // past the interval in which positions are committed
	x.s.Kill("ecom-server")
	x.redis("FLUSHALL")
	x.s.Thaw("mysql")
	x.recovered(time.Now(), gateBackWithin)
}
