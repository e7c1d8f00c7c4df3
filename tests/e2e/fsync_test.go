package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ecom/tests/campaign"
	"ecom/tests/ledger"
	"ecom/tests/stack"
)

const ioError = 74 // EX_IOERR

// A server that is killed cannot show a missing fsync: the kernel still has what was written. One
// whose fsync fails can.
func TestFailedFsyncStopsTheServerAndNothingIsPromisedAfterwards(t *testing.T) {
	t.Parallel()
	dir := stack.DataDir(t)
	s := stack.New(t, dir, "COUPON_STOCK=1000000", "ECOM_SAMPLE_DATA=true", "ECOM_LOG_FORMAT=json")
	// The failing call takes 300 ms: whoever asks meanwhile and hears QUEUED was not waited for.
	trace := filepath.Join(t.TempDir(), "trace")
	server := s.Run("", "strace", "-f", "-qq", "--seccomp-bpf", "-ttt", "-o", trace, "-e", "trace=fsync,fdatasync",
		"-e", "inject=fsync,fdatasync:error=EIO:delay_exit=300000:when=200+", stack.Binary(t, "ecom-server"))
	gateway := s.Run("", stack.Binary(t, "ecom-gateway"))
	s.AwaitReady(gateway)

	c := startCampaign(t, s, campaign.Usual(8, 1))
	code := server.AwaitEnd(60 * time.Second)
	if code != ioError {
		t.Errorf("exit code %d, want %d", code, ioError)
	}
	c.Stop()
	c.Finish(answerWithin)
	if c.Result.Answers[ledger.Queued] == 0 {
		t.Error("nothing was accepted before the fault")
	}
	requireOneClearLine(t, server.Output())
	fault := firstFault(t, trace)
	late := 0
	c.Visit(func(entry *ledger.Entry) {
		if entry.Answer == ledger.Queued && entry.InvokeNs > fault.UnixNano() {
			late++
		}
	})
	if late > 0 {
		t.Errorf("%d requests that were sent after the fault were answered QUEUED", late)
	}
	gateway.Stop()

	stack.New(t, dir).Start()
	c.RequireClean()
}

// firstFault returns when the first fsync that was made to fail began.
func firstFault(t *testing.T, trace string) time.Time {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "(INJECTED)") {
			continue
		}
		seconds, err := strconv.ParseFloat(strings.Fields(line)[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.UnixMicro(int64(seconds * 1e6))
	}
	t.Fatal("no fsync was made to fail")
	return time.Time{}
}
