// Package upstream is the connections to the gRPC servers.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // checks servers for round_robin
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

const (
	// A server that is started again is in use within a second: the supervisor's own delay is what
	// callers wait for, not ours.
	firstRetry, slowestRetry = 20 * time.Millisecond, 500 * time.Millisecond
	dialTimeout              = time.Second

	// A connection on which nothing comes for so long is asked whether it is still there, and given up when
	// it does not say so: a network or a machine may forget it without a word. 10 s is gRPC's least.
	askAfter, answerWithin = 10 * time.Second, 2 * time.Second

	// Answers are far smaller; a page of 100 products with long names is about 100 KB.
	answerBytesMax = 4 << 20

	// Fixed windows turn the bandwidth probe off, which costs a ping for nothing on a local socket.
	window = 1 << 20
)

// An Upstream is the connections to the servers. They are made by themselves, again after each loss.
// Calls on the Upstream itself go to one server after the other of those that are healthy, and fail at
// once with UNAVAILABLE while there is none. Thread-safe.
type Upstream struct {
	*grpc.ClientConn
	servers []*grpc.ClientConn
	health  healthCheck
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// Connect starts connecting to each target in plain text: "unix:" and a path of any length, host:port,
// or, if it is the only one, whatever gRPC resolves. It does not wait for the servers.
func Connect(targets []string, log *slog.Logger) (_ *Upstream, err error) {
	u := &Upstream{}
	for _, target := range targets {
		var conn *grpc.ClientConn
		if len(targets) == 1 {
			conn, err = connectOne(target)
		} else {
			conn, err = connectHealthy(target)
		}
		if err != nil {
			u.closeAll()
			return nil, fmt.Errorf("server target %q: %w", target, err)
		}
		u.servers = append(u.servers, conn)
	}
	u.ClientConn = u.servers[0]
	if len(targets) > 1 {
		if u.ClientConn, err = connectHealthy(targets...); err != nil {
			u.closeAll()
			return nil, fmt.Errorf("server targets %q: %w", targets, err)
		}
	}
	u.health.client = grpc_health_v1.NewHealthClient(u.ClientConn)
	var ctx context.Context
	ctx, u.stop = context.WithCancel(context.Background())
	for i, target := range targets {
		u.done.Go(func() { stayConnected(ctx, u.servers[i], target, log) })
	}
	return u, nil
}

// connectOne leaves it to the server to say that it does not serve.
func connectOne(target string) (*grpc.ClientConn, error) {
	address := target
	var more []grpc.DialOption
	if strings.HasPrefix(target, unixPrefix) {
		address = "passthrough:///" + target
		more = append(more, grpc.WithAuthority("localhost"), grpc.WithContextDialer(dial))
	}
	return grpc.NewClient(address, append(options(), more...)...)
}

// connectHealthy is ready while one of the targets says that it serves.
func connectHealthy(targets ...string) (*grpc.ClientConn, error) {
	addresses := manual.NewBuilderWithScheme("servers")
	state := resolver.State{}
	for _, target := range targets {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: target})
	}
	addresses.InitialState(state)
	return grpc.NewClient("servers:///", append(options(), grpc.WithResolvers(addresses), grpc.WithAuthority("localhost"), grpc.WithContextDialer(dial),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}`))...)
}

func options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstRetry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: slowestRetry},
			MinConnectTimeout: dialTimeout,
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: askAfter, Timeout: answerWithin, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax)),
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(window),
		grpc.WithDisableServiceConfig(),
	}
}

// unixPrefix is that of a target which is a path.
const unixPrefix = "unix:"

func dial(ctx context.Context, target string) (net.Conn, error) {
	if path, ok := strings.CutPrefix(target, unixPrefix); ok {
		return DialUnix(ctx, strings.TrimPrefix(path, "//"))
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", target)
}

// Servers are connections to one server each, for calls that are to stay with it. With several
// targets, they are ready only while their server says that it serves.
func (u *Upstream) Servers() []*grpc.ClientConn { return u.servers }

// stayConnected asks for a connection whenever there is none, rather than when a call needs one.
func stayConnected(ctx context.Context, conn *grpc.ClientConn, target string, log *slog.Logger) {
	reachable := true // so that a server that is away from the beginning is logged once
	state := conn.GetState()
	for {
		switch state {
		case connectivity.Idle:
			conn.Connect()
		case connectivity.Ready:
			reachable = true
			log.Info("connected to the server", "target", target)
		case connectivity.TransientFailure:
			if reachable {
				log.Warn("the server cannot be reached, or does not serve; trying again", "target", target)
			}
			reachable = false
		}
		if !conn.WaitForStateChange(ctx, state) {
			return
		}
		state = conn.GetState()
	}
}

// Close breaks off all calls.
func (u *Upstream) Close() error {
	u.stop()
	err := u.closeAll()
	u.done.Wait()
	return err
}

func (u *Upstream) closeAll() (err error) {
	for _, conn := range u.servers {
		err = errors.Join(err, conn.Close())
	}
	if len(u.servers) > 1 && u.ClientConn != nil {
		err = errors.Join(err, u.ClientConn.Close())
	}
	return err
}

// Serving tells whether a server says that it serves. Costs at most one call per healthTTL; blocks
// for at most healthTimeout.
func (u *Upstream) Serving(ctx context.Context) bool { return u.health.serving(ctx) }

const (
	healthTTL     = 250 * time.Millisecond
	healthTimeout = 500 * time.Millisecond
)

type healthCheck struct {
	client grpc_health_v1.HealthClient

	mu      sync.Mutex
	checked time.Time
	ok      bool
}

func (h *healthCheck) serving(ctx context.Context) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.checked) < healthTTL {
		return h.ok
	}
	// The answer is for the next callers, too: this one's hanging up must not spoil it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	answer, err := h.client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	h.ok = err == nil && answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING
	h.checked = time.Now()
	return h.ok
}

// sunPathMax is the longest path that fits a Unix socket address with its final zero.
const sunPathMax = 107

// DialUnix connects to the Unix socket at path. A path that is too long for a socket address is
// reached through an open handle of its folder; the socket's own name must fit.
func DialUnix(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	short, release, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer release()
	return dialer.DialContext(ctx, "unix", short)
}

func shortPath(path string) (short string, release func(), err error) {
	if len(path) <= sunPathMax {
		return path, func() {}, nil
	}
	folder := filepath.Dir(path)
	fd, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: folder, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { _ = unix.Close(fd) }, nil
}
