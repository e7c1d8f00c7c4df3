// Package products breaks product reads on real processes, and requires what their callers were promised:
// that changes arrive in time and nothing old comes back, that the store is asked once and not by
// everybody, and that views are counted exactly.
//
// All trials share one set of stores; each has servers and products of its own.
package products

import (
	"testing"

	"ecom/tests/stack"
)

var trials = []struct {
	name string
	run  func(*trial)
}{
	{"a price set by ecomctl shows on two servers within a second, one set by hand within the soft TTL", pricesArrive},
	{"F28 an old value on its way when the price changes is kept nowhere", oldFillIsLate},
	{"F28 an old value on its way is not put into a second level that has forgotten the change", oldFillOutlivesTheMark},
	{"F28 an old value in a frozen server is shown to nobody when it goes on", oldFillIsFrozen},
	{"P7 no price goes back for longer than the TTL while prices change", pricesOnlyRise},
	{"F27 64 readers of a product that no level has cost each server one read", hotProductIsCold},
	{"F27 64 readers of a product that expires cost one read a refresh", hotProductExpires},
	{"F27 reads go on while the product cache is killed, restarted and frozen", cacheDies},
	{"a thousand first readers of a cold product cost one SELECT", firstReadersShareOneSelect},
	{"50,000 views on two servers are in the store after a clean stop", viewsSurviveCleanStop},
	{"kill -9 of a server loses the views since its last flush at most", viewsSurviveKill},
	{"FLUSHALL of the gate's Redis loses the views of a moment at most", viewsSurviveFlush},
	{"an unknown id costs the store one read a second", unknownIDIsRemembered},
	{"a flood of unknown ids is shed, and everybody else is served", unknownIDsAreShed},
}

func TestMain(m *testing.M) { stack.Main(m) }

func TestProducts(t *testing.T) {
	r := newRig(t)
	for _, each := range trials {
		t.Run(each.name, func(t *testing.T) { each.run(r.begin(t)) })
	}
}
