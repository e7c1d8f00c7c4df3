package upstream

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health/grpc_health_v1"

	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/internal/fake"
	"ecom/gateway/internal/wait"
)

// startTwo runs two servers, one on a socket and one on TCP, and waits until both can be used.
func startTwo(t *testing.T) (*Upstream, []*fake.Server) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "server.sock")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	servers := []*fake.Server{fake.Start(t, fake.Listen(t, socket), nil), fake.Start(t, l, nil)}
	u, err := Connect([]string{"unix:" + socket, l.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	wait.Until(t, "both servers to be asked", func() bool {
		ask(t, u)
		return servers[0].Calls() > 0 && servers[1].Calls() > 0
	})
	return u, servers
}

func ask(t *testing.T, u *Upstream) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := productv1.NewProductServiceClient(u).GetProduct(ctx, &productv1.GetProductRequest{ProductId: 1})
	return err
}

func TestSeveralServersTakeTurns(t *testing.T) {
	u, servers := startTwo(t)
	before := []int{servers[0].Calls(), servers[1].Calls()}
	for range 10 {
		if err := ask(t, u); err != nil {
			t.Error(err)
		}
	}
	for i, server := range servers {
		if got := server.Calls() - before[i]; got != 5 {
			t.Errorf("server %d got %d of 10 calls", i, got)
		}
	}
}

func TestAServerThatDiesOrDoesNotServeIsLeftOut(t *testing.T) {
	for what, end := range map[string]func(*fake.Server){
		"dead": (*fake.Server).Stop,
		"not serving": func(s *fake.Server) {
			s.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		},
	} {
		u, servers := startTwo(t)
		end(servers[0])
		wait.Until(t, "the loss to be noticed", func() bool { return u.Servers()[0].GetState() != connectivity.Ready })
		wait.Until(t, "the other to get all calls", func() bool {
			before := servers[0].Calls()
			for range 10 {
				if ask(t, u) != nil {
					return false
				}
			}
			return servers[0].Calls() == before
		})
		if !u.Serving(context.Background()) {
			t.Errorf("%s: the upstream does not serve", what)
		}
		end(servers[1])
		wait.Until(t, "both to be lost", func() bool { return ask(t, u) != nil })
	}
}
