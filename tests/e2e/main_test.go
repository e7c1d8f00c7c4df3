// Package e2e tests the product as its users run it: `make run`, over its ports, with crashes.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
	"ecom/tests/wire"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Each test runs a whole installation: more than two at once measure each other.
	if err := flag.Set("test.parallel", "2"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stack.Main(m)
}

// answerWithin is past every deadline of the service.
const answerWithin = 15 * time.Second

// send sends one request on a connection of its own, and fails the test when there is no answer.
func send(t *testing.T, addr, method, path string, headers ...string) *wire.Response {
	t.Helper()
	client := wire.NewClient(addr, answerWithin)
	defer client.Close()
	response, err := client.Do(method, wire.Request(method, path, headers, ""))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return response
}

// query runs SQL on the embedded store's file, read-only, and returns what the sqlite3 command prints.
func query(t *testing.T, dataDir, sql string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sqlite3", "-readonly", "-cmd", ".timeout 5000",
		filepath.Join(dataDir, "ecom.db"), sql)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", sql, err, output)
	}
	return strings.TrimSpace(string(output))
}

func queryNumber(t *testing.T, dataDir, sql string) int64 {
	t.Helper()
	number, err := strconv.ParseInt(query(t, dataDir, sql), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return number
}

// startCampaign starts a load on coupon 1 of one installation on the embedded stores; the options need
// not say where.
func startCampaign(t *testing.T, s *stack.Stack, options load.Options) *campaign.Campaign {
	t.Helper()
	options.Addrs, options.Coupon = []string{s.HTTP}, 1
	return campaign.Start(t, func(ctx context.Context) (*ledger.State, error) {
		reader, writer := io.Pipe()
		go func() { writer.CloseWithError(ledger.SnapshotEmbedded(ctx, s.DataDir, writer)) }()
		return ledger.ReadState(reader)
	}, options)
}

// requireUnavailable checks the one answer that a service that is away may give.
func requireUnavailable(t *testing.T, response *wire.Response) {
	t.Helper()
	want := `{"code":"CM503","message":"일시적으로 서비스를 이용할 수 없습니다."}`
	if response.Status != http.StatusServiceUnavailable || strings.TrimSpace(string(response.Body)) != want ||
		response.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s, want 503 with Retry-After and %s", response.Status, response.Header, response.Body, want)
	}
}
