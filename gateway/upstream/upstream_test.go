package upstream

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health/grpc_health_v1"

	"ecom/gateway/internal/fake"
)

const patience = 20 * time.Second

func TestASocketIsReachedByAPathOfAnyLength(t *testing.T) {
	for _, length := range []int{sunPathMax - 1, sunPathMax, sunPathMax + 1, 300, 1000} {
		folder := t.TempDir()
		for len(folder)+len("/server.sock") < length {
			more := min(length-len(folder)-len("/server.sock")-1, 200)
			folder += "/" + strings.Repeat("d", max(more, 1))
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, "server.sock")
		short, release, err := shortPath(path)
		if err != nil {
			t.Fatal(err)
		}
		l := fake.Listen(t, short)
		release()
		accepted := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, err = io.WriteString(c, "hello")
				c.Close()
			}
			accepted <- err
		}()
		c, err := DialUnix(context.Background(), path)
		if err != nil {
			t.Fatalf("%d: %v", len(path), err)
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != "hello" {
			t.Errorf("%d: got %q, %v", len(path), got, err)
		}
		c.Close()
		if err := <-accepted; err != nil {
			t.Error(err)
		}
		l.Close()
	}
}

func TestDialingLeavesNoFolderOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("d", 120), "server.sock")
	if _, err := DialUnix(context.Background(), path); err == nil {
		t.Fatal("dialed a folder that is not there")
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := DialUnix(context.Background(), path); err == nil {
			t.Fatal("dialed a socket that is not there")
		}
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && target == filepath.Dir(path) {
			t.Errorf("descriptor %s is still open", entry.Name())
		}
	}
}

func TestAConnectionIsMadeWithoutACallThatNeedsIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake.Start(t, l, nil)
	u, err := Connect([]string{l.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for state := u.GetState(); state != connectivity.Ready; state = u.GetState() {
		if !u.WaitForStateChange(ctx, state) {
			t.Fatalf("still %v", state)
		}
	}
}

func TestAServerThatStaysAwayIsTriedAgainWithinASecond(t *testing.T) {
	l := fake.Listen(t, filepath.Join(t.TempDir(), "server.sock"))
	defer l.Close()
	u, err := Connect([]string{"unix:" + l.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	// Without a limit, the twelfth attempt would come 2.2 s after the eleventh.
	last := time.Now()
	for attempt := range 12 {
		if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if waited := time.Since(last); waited > time.Second {
			t.Errorf("attempt %d came after %v", attempt+1, waited)
		}
		last = time.Now()
	}
}

func TestHealthIsAskedOnceForManyCallersAndAgainAfterAWhile(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := fake.Start(t, l, nil)
	u, err := Connect([]string{l.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for deadline := time.Now().Add(patience); !u.Serving(context.Background()); {
		if time.Now().After(deadline) {
			t.Fatal("never serving")
		}
	}
	u.health.mu.Lock()
	u.health.checked = time.Now().Add(time.Hour) // what was found stays fresh
	u.health.mu.Unlock()
	server.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if !u.Serving(context.Background()) {
		t.Error("the server was asked again")
	}
	u.health.mu.Lock()
	u.health.checked = time.Time{}
	u.health.mu.Unlock()
	if u.Serving(context.Background()) {
		t.Error("the server was not asked again")
	}
}

func TestACallerWhoHangsUpDoesNotMakeTheServerLookDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake.Start(t, l, nil)
	u, err := Connect([]string{l.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for deadline := time.Now().Add(patience); !u.Serving(gone); {
		if time.Now().After(deadline) {
			t.Fatal("never serving")
		}
	}
}

func TestATargetThatIsNoneIsRefused(t *testing.T) {
	if u, err := Connect([]string{"nonsense://\x00"}, slog.New(slog.DiscardHandler)); err == nil {
		u.Close()
		t.Error("accepted")
	}
}
