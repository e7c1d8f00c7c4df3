package lane

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health/grpc_health_v1"

	"ecom/gateway/internal/fake"
	"ecom/gateway/internal/wait"
	"ecom/gateway/upstream"
)

// A pair is two servers and a lane to each.
type pair struct {
	*Conn
	sockets [2]string
	servers [2]*fake.Server
	up      *upstream.Upstream
	entered chan struct{}
	release chan struct{}
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{entered: make(chan struct{}, 1), release: make(chan struct{})}
	hold := func(context.Context, string) (any, error) {
		select {
		case p.entered <- struct{}{}:
			<-p.release
		default:
		}
		return nil, nil
	}
	p.entered <- struct{}{} // nothing is held yet
	var targets []string
	for i := range p.servers {
		p.sockets[i] = filepath.Join(t.TempDir(), "server.sock")
		p.servers[i] = fake.Start(t, fake.Listen(t, p.sockets[i]), hold)
		targets = append(targets, "unix:"+p.sockets[i])
	}
	var err error
	if p.up, err = upstream.Connect(targets, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	var servers []Server
	for _, server := range p.up.Servers() {
		servers = append(servers, server)
	}
	p.Conn = New(p.up, servers, Usual(1, &counter{}, slog.New(slog.DiscardHandler)))
	t.Cleanup(func() {
		p.Conn.Close()
		p.up.Close()
	})
	wait.Until(t, "both lanes to be up", func() bool { return p.Up() == 2 && p.ready(0) && p.ready(1) })
	return p
}

func (p *pair) ready(server int) bool {
	return p.up.Servers()[server].GetState() == connectivity.Ready
}

// got makes calls, and counts those that came to each server.
func (p *pair) got(t *testing.T, calls int) [2]int {
	t.Helper()
	before := [2]int{p.servers[0].Calls(), p.servers[1].Calls()}
	for range calls {
		if _, err := getProduct(within(t), p.Conn, 1); err != nil {
			t.Error(err)
		}
	}
	return [2]int{p.servers[0].Calls() - before[0], p.servers[1].Calls() - before[1]}
}

func TestCallsAreSpreadOverServersAndGoWhereTheFewestAreUnderWay(t *testing.T) {
	p := startPair(t)
	if got := p.got(t, 10); got != [2]int{5, 5} {
		t.Errorf("of 10 calls, one after the other, the servers got %v", got)
	}
	<-p.entered
	held := make(chan error, 1)
	go func() {
		_, err := getProduct(within(t), p.Conn, 1)
		held <- err
	}()
	wait.Until(t, "a call to be held", func() bool { return len(p.entered) == 1 })
	if got := p.got(t, 10); got != [2]int{10, 0} && got != [2]int{0, 10} {
		t.Errorf("while one of them holds a call, the servers got %v", got)
	}
	close(p.release)
	if err := <-held; err != nil {
		t.Error(err)
	}
}

func TestAServerThatDiesLeavesItsCallsToTheOtherUntilItIsBack(t *testing.T) {
	p := startPair(t)
	p.servers[0].Stop()
	wait.Until(t, "its lane to be down", func() bool { return p.Up() == 1 })
	if got := p.got(t, 10); got[1] != 10 {
		t.Errorf("the servers got %v", got)
	}
	p.servers[0] = fake.Start(t, fake.Listen(t, p.sockets[0]), nil)
	wait.Until(t, "it to be back", func() bool { return p.Up() == 2 && p.ready(0) })
	if got := p.got(t, 10); got != [2]int{5, 5} {
		t.Errorf("after its return the servers got %v", got)
	}
}

func TestAServerThatDoesNotServeIsAskedOnlyWhenThereIsNoOther(t *testing.T) {
	p := startPair(t)
	p.servers[0].Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	wait.Until(t, "it to be known", func() bool { return !p.ready(0) })
	if got := p.got(t, 10); got != [2]int{0, 10} {
		t.Errorf("the servers got %v", got)
	}
	p.servers[1].Stop()
	wait.Until(t, "the other's lane to be down", func() bool { return p.Up() == 1 })
	if got := p.got(t, 10); got[0] != 10 {
		t.Errorf("with no other, the servers got %v", got)
	}
}
