// Package chaos breaks the product on real stores under load, one fault at a time, and requires that
// the ledger balances afterwards: every promise became one row, nobody got two, none too many.
//
// All trials share one set of stores and one `make run`; each has a coupon of its own. A trial warms up
// under load, breaks something, heals it, waits until claims are promised again, sells the coupon out
// and settles. What it breaks next it decides by progress, never by time, so that each fault hits a
// product at work on a machine of any speed.
package chaos

import (
	"os"
	"strconv"
	"testing"

	"ecom/tests/stack"
)

// The order matters where a trial leaves much in the log that a later one reads again: replays first.
var trials = []struct {
	name string
	run  func(*trial)
}{
	{"F1 server kill -9 at random points", serverKilled},
	{"F16 partitions replayed from the beginning", logReplayed},
	{"F2 SIGTERM under load", serverStopped},
	{"F3 answer lost, asked again", answersLost},
	{"F4 concurrent twins", twins},
	{"F5 Redis kill -9 and restart", redisKilled},
	{"F6 Redis restarts empty", redisEmptied},
	{"F7 keys flushed, deleted, set, expired", keysTampered},
	{"F8 a replica that has missed admissions is promoted", replicaPromoted},
	{"F10 Redis frozen and paused", redisFrozen},
	{"F11 Redis refuses", redisRefuses},
	{"F12 Kafka kill -9, 10 s down", kafkaKilled},
	{"F12 Kafka frozen 10 s", kafkaFrozen},
	{"F18 poison in the log", logPoisoned},
	{"F19 no place for dead letters", lettersRefused},
	{"F14 records gone before they were recorded", logTruncated},
	{"F20 MariaDB kill -9", mysqlKilled},
	{"F20 MariaDB down 30 s", mysqlDown},
	{"one key, and the log stutters", logStutters},
	{"F1 server kill -9 at each failpoint", serverKilledAtFailpoints},
	{"F15 recorder kill -9 between COMMIT and offset", recorderKilledAfterRows},
	{"a record of the old gate lands before the barrier", recordBeforeBarrier},
	{"a record of the old gate lands behind the barrier", recordBehindBarrier},
	{"a record of the old gate lands after the sale", recordAfterSale},
	{"reader kill -9 with a batch in hand, then FLUSHALL", readerKilledBeforeRows},
	{"F17 3 api servers and 2 recorders, killed and frozen in turn", manyServersKilled},
	{"F22 faults between gateway and server, in lanes", linkFaultsInLanes},
	{"F22 faults between gateway and server, call by call", linkFaultsOfUnaryCalls},
	{"F24 ten times what the gate takes", overloaded},
	{"stores changed by hand", storesChanged},
	{"broken: a missing key is fresh stock", brokenFreshStock},
	{"broken: a slot is given back after a second", brokenSlotGivenBack},
	{"broken: the offset before the commit", brokenOffsetBeforeCommit},
}

func TestMain(m *testing.M) { stack.Main(m) }

// seed is the same in every run, unless CHAOS_SEED says another.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("CHAOS_SEED")
	if text == "" {
		return 1
	}
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func TestChaos(t *testing.T) {
	r := newRig(t, seed(t))
	t.Logf("seed %d", r.seed)
	for _, each := range trials {
		t.Run(each.name, func(t *testing.T) {
			each.run(r.begin(t, each.name))
		})
	}
	if err := r.writeTable(); err != nil {
		t.Error(err)
	}
	t.Log("\n" + r.table())
}
