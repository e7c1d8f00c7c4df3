// Package upstream is the connection to the gRPC server.
package upstream

import (
	"context"
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
	"google.golang.org/grpc/health/grpc_health_v1"
)

const (
	// A server that is started again is in use within a second: the supervisor's own delay is what
	// callers wait for, not ours.
	firstRetry, slowestRetry = 20 * time.Millisecond, 500 * time.Millisecond
	dialTimeout              = time.Second

	// Answers are far smaller; a page of 100 products with long names is about 100 KB.
	answerBytesMax = 4 << 20

	// Fixed windows turn the bandwidth probe off, which costs a ping for nothing on a local socket.
	window = 1 << 20
)

// An Upstream is one connection to the server. It connects by itself, again after each loss; calls
// made meanwhile fail at once with UNAVAILABLE. Thread-safe.
type Upstream struct {
	*grpc.ClientConn
	health healthCheck
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// Connect starts connecting to target: "unix:" and a path of any length, or what gRPC resolves,
// in plain text. It does not wait for the server.
func Connect(target string, log *slog.Logger) (*Upstream, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstRetry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: slowestRetry},
			MinConnectTimeout: dialTimeout,
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax)),
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(window),
		grpc.WithDisableServiceConfig(),
	}
	address := target
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		address = "passthrough:///server"
		options = append(options, grpc.WithAuthority("localhost"),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return DialUnix(ctx, path) }))
	}
	conn, err := grpc.NewClient(address, options...)
	if err != nil {
		return nil, fmt.Errorf("server target %q: %w", target, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	u := &Upstream{ClientConn: conn, stop: stop, health: healthCheck{client: grpc_health_v1.NewHealthClient(conn)}}
	u.done.Go(func() { u.stayConnected(ctx, target, log) })
	return u, nil
}

// stayConnected asks for a connection whenever there is none, rather than when a call needs one.
func (u *Upstream) stayConnected(ctx context.Context, target string, log *slog.Logger) {
	reachable := true // so that a server that is away from the beginning is logged once
	state := u.GetState()
	for {
		switch state {
		case connectivity.Idle:
			u.ClientConn.Connect()
		case connectivity.Ready:
			reachable = true
			log.Info("connected to the server", "target", target)
		case connectivity.TransientFailure:
			if reachable {
				log.Warn("the server cannot be reached; trying again", "target", target)
			}
			reachable = false
		}
		if !u.WaitForStateChange(ctx, state) {
			return
		}
		state = u.GetState()
	}
}

// Close breaks off all calls.
func (u *Upstream) Close() error {
	u.stop()
	err := u.ClientConn.Close()
	u.done.Wait()
	return err
}

// Serving tells whether the server says that it serves. Costs at most one call per healthTTL;
// blocks for at most healthTimeout.
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
