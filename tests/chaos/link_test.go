package chaos

import (
	"path/filepath"
	"strings"
	"time"

	"ecom/tests/ledger"
	"ecom/tests/link"
	"ecom/tests/load"
	"ecom/tests/stack"
)

const (
	// linkDownFor is longer than a call may take: so calls end in the middle of it, by their deadline.
	linkDownFor = 4 * time.Second
	// callWithin is the gateway's deadline of a call, and what a busy machine adds.
	callWithin = 3*time.Second + time.Second
	// linkBackWithin is the contract's, for a link that works again.
	linkBackWithin = 10 * time.Second
)

// linkFault is a fault of the link between gateway and server.
type linkFault struct {
	name              string
	requests, answers link.Condition
	broken            bool // all connections end, again and again
	forgotten         bool // connections are of no use afterwards, either
	silent            bool // no answer gets through
}

var linkFaults = []linkFault{
	{name: "apart", requests: link.Condition{Held: true}, answers: link.Condition{Held: true}, silent: true},
	{name: "answers lost", answers: link.Condition{Held: true}, silent: true},
	{name: "requests lost", requests: link.Condition{Held: true}, silent: true},
	{name: "apart, and connections forgotten", requests: link.Condition{Held: true}, answers: link.Condition{Held: true}, forgotten: true, silent: true},
	{name: "reset", broken: true},
	{name: "1-byte slices", requests: link.Condition{Slice: 1}, answers: link.Condition{Slice: 1}},
	{name: "delay", requests: link.Condition{Delay: 150 * time.Millisecond}, answers: link.Condition{Delay: 150 * time.Millisecond}},
}

func linkFaultsInLanes(x *trial) { x.linkFaults("ECOM_LANES=2") }

func linkFaultsOfUnaryCalls(x *trial) { x.linkFaults("ECOM_LANES=0") }

func (x *trial) linkFaults(setting string) {
	x.t.Helper()
	x.stop()
	server := x.s.StartServer("apart", allRoles)
	proxy := link.Start(x.t, filepath.Join(x.s.DataDir, "apart-link.sock"), strings.TrimPrefix(server.Target, "unix:"))
	server.Target = "unix:" + proxy.Socket
	gateway := x.s.With(setting).StartGateway(server)
	x.awaitReady(gateway)
	x.load(9000, func(o *load.Options) { o.Addrs, o.PerSecond = []string{gateway.HTTP}, 300 })
	for _, fault := range linkFaults {
		x.progress(200)
		x.linkFault(proxy, fault)
	}
	x.settle()
	late := x.entries(func(e *ledger.Entry) bool { return time.Duration(e.DoneNs-e.InvokeNs) > callWithin })
	if len(late) > 0 {
		x.t.Errorf("%d calls outlasted their deadline, the first by %v", len(late),
			time.Duration(late[0].DoneNs-late[0].InvokeNs)-callWithin)
	}
}

func (x *trial) linkFault(proxy *link.Proxy, fault linkFault) {
	x.t.Helper()
	indeterminate := func() int64 { return x.c.Count(ledger.Unknown) + x.c.Count(ledger.Unavailable) }
	promised, failed := x.c.Count(ledger.Queued), indeterminate()
	proxy.Set(fault.requests, fault.answers)
	if fault.forgotten {
		proxy.Forget()
	}
	if fault.broken {
		stack.Until(linkDownFor, func() bool { proxy.Break(); return x.c.Ended() })
	} else {
		x.during(linkDownFor)
	}
	promised, failed = x.c.Count(ledger.Queued)-promised, indeterminate()-failed
	proxy.Set(link.Condition{}, link.Condition{})
	x.recovered(time.Now(), linkBackWithin)
	x.t.Logf("%s: %d promised and %d failed meanwhile, promised again after %v", fault.name, promised, failed,
		x.recoveries[len(x.recoveries)-1].Round(time.Millisecond))
	// Of what was on its way when the link broke, an answer or two may have been through already.
	if fault.silent && promised > 16 {
		x.t.Errorf("%s: %d requests were promised, and no answer can have come", fault.name, promised)
	}
	if hurts := fault.silent || fault.broken; hurts != (failed > 0) {
		x.t.Errorf("%s: %d requests failed", fault.name, failed)
	}
	if !fault.silent && !fault.broken && promised < 16 {
		x.t.Errorf("%s: %d requests were promised, though all can get through", fault.name, promised)
	}
}
