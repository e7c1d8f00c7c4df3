package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"ecom/tests/campaign"
	"ecom/tests/cases"
	"ecom/tests/ledger"
	"ecom/tests/stack"
)

const (
	crashes    = 20
	crashStock = 20000
)

func TestCrashTwentyServerKillsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			twentyKillsLoseNothing(t, transport)
		})
	}
}

func twentyKillsLoseNothing(t *testing.T, setting string) {
	t.Helper()
	s := stack.New(t, stack.DataDir(t), "COUPON_STOCK=20000", setting)
	s.Start()
	c, recoveries := crashUnderLoad(t, s)
	report := c.RequireClean()
	if rows := rowsOf(report); rows != crashStock {
		t.Errorf("%d rows at the end, want %d", rows, crashStock)
	}
	t.Logf("%d crashes, recovery p50 %v, max %v; promised %d, indeterminate %d", len(recoveries),
		recoveries[len(recoveries)/2].Round(time.Millisecond), recoveries[len(recoveries)-1].Round(time.Millisecond),
		c.Result.Answers[ledger.Queued], c.Result.Answers[ledger.Unknown]+c.Result.Answers[ledger.Unavailable])
	if worst := recoveries[len(recoveries)-1]; worst > stack.RestartWithin {
		t.Errorf("the slowest recovery took %v, want at most %v", worst, stack.RestartWithin)
	}
}

func TestCrashTestFailsForAServerThatAnswersBeforeTheCommit(t *testing.T) {
	t.Parallel()
	broken := stack.Binary(t, "ecom-server-broken-answer-before-commit")
	s := stack.New(t, stack.DataDir(t), "COUPON_STOCK=20000", "ECOM_SERVER_BINARY="+broken)
	s.Start()
	c, _ := crashUnderLoad(t, s)
	report, _ := c.Verdict(3 * time.Second)
	t.Logf("%s", campaign.Text(t, report))
	if report.OK || report.Lost == 0 {
		t.Error("the ledger let a server pass that promises what it has not kept")
	}
}

// crashUnderLoad kills the server again and again while users ask, until the coupon is sold out.
// Returns the recovery times, shortest first.
func crashUnderLoad(t *testing.T, s *stack.Stack) (*campaign.Campaign, []time.Duration) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	options := campaign.Usual(16, seed)
	options.SoldOutMax = 200
	c := startCampaign(t, s, options)
	var recoveries []time.Duration
	// The kills are spread over the first nine tenths of the stock: by progress, not by time, so
	// that each one hits a server at work on a machine of any speed.
	const stride = crashStock * 9 / 10 / crashes
	for crash := range int64(crashes) {
		c.AwaitPromises(crash*stride+1+random.Int64N(stride), 30*time.Second)
		if c.Ended() {
			t.Fatalf("the load ended before crash %d: %+v", crash+1, c.Result)
		}
		s.Kill("ecom-server")
		recoveries = append(recoveries, c.AwaitRecovery(time.Now(), 30*time.Second))
	}
	c.Finish(60 * time.Second)
	slices.Sort(recoveries)
	return c, recoveries
}

func rowsOf(report *ledger.Report) int {
	for _, coupon := range report.Coupons {
		if coupon.ID == 1 {
			return coupon.Rows
		}
	}
	return -1
}

func TestCrashOfEverythingUnderLoadPicksUpWhereItWas(t *testing.T) {
	t.Parallel()
	s := stack.New(t, stack.DataDir(t), "COUPON_STOCK=8000")
	s.Start()
	options := campaign.Usual(16, 1)
	options.SoldOutMax = 200
	c := startCampaign(t, s, options)
	for round := range int64(3) {
		c.AwaitPromises((round+1)*2000, 30*time.Second)
		s.KillAll()
		s.Start()
	}
	c.Finish(60 * time.Second)
	if rows := rowsOf(c.RequireClean()); rows != 8000 {
		t.Errorf("%d rows at the end, want 8000", rows)
	}
}

func TestCrashOfTheGatewayIsOverWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	s := stack.New(t, stack.DataDir(t), "COUPON_STOCK=100000")
	program := s.Start()
	c := startCampaign(t, s, campaign.Usual(8, 1))
	for round := range int64(3) {
		c.AwaitPromises(1+round*500, 30*time.Second)
		s.Kill("ecom-gateway")
		took := c.AwaitRecovery(time.Now(), stack.RestartWithin)
		t.Logf("recovered after %v", took.Round(time.Millisecond))
	}
	c.Stop()
	c.Finish(answerWithin)
	c.RequireClean()
	program.Stop()
}

func TestCrashOfTheServerIsAnsweredWithCM503Meanwhile(t *testing.T) {
	t.Parallel()
	s := stack.New(t, stack.DataDir(t))
	s.Start()
	s.Kill("ecom-server")
	away := 0
	back := stack.Until(stack.RestartWithin, func() bool {
		response := send(t, s.HTTP, "GET", "/products/1")
		if response.Status == 200 {
			return true
		}
		away++
		requireUnavailable(t, response)
		return t.Failed()
	})
	if !back || away == 0 {
		t.Errorf("back: %v, after %d answers that it is away", back, away)
	}
}

func TestCrashLeavesNothingBehindWhenTheSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	s := stack.New(t, stack.DataDir(t))
	program := s.Start()
	if err := kill(program.PID()); err != nil {
		t.Fatal(err)
	}
	program.AwaitEnd(stack.StopWithin)
	if !stack.Until(stack.RestartWithin, func() bool { return s.Find("ecom-") == 0 }) {
		t.Errorf("outlived their supervisor: %v", s.Processes())
	}
	s.Start().Stop()
}

func kill(pid int) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Kill()
}

func TestFrozenServerIsAnsweredByTheDeadlineAndTheSameKeySettlesIt(t *testing.T) {
	t.Parallel()
	s := stack.New(t, stack.DataDir(t))
	s.Start()
	server := s.Find("ecom-server")
	if err := freeze(server); err != nil {
		t.Fatal(err)
	}
	user, key := "userId: 77", "Idempotency-Key: frozen"
	response := send(t, s.HTTP, "POST", "/coupons/1/issue", user, key)
	if response.Status != 504 || cases.ErrorCode(string(response.Body)) != "CM504" {
		t.Errorf("%d %s, want CM504", response.Status, response.Body)
	}
	if err := thaw(server); err != nil {
		t.Fatal(err)
	}
	settled := stack.Until(answerWithin, func() bool {
		return send(t, s.HTTP, "POST", "/coupons/1/issue", user, key).Status == 200
	})
	if !settled {
		t.Error("the same key did not get its coupon after the server was back")
	}
	issued := func() bool {
		response := send(t, s.HTTP, "GET", "/coupons/1/issue", user)
		return response.Status == 200 && bytes.Contains(response.Body, []byte(`"status":"ISSUED"`))
	}
	if !stack.Until(answerWithin, issued) {
		t.Error("no row")
	}
	if rows := queryNumber(t, s.DataDir, "SELECT count(*) FROM coupon_issues WHERE user_id = 77"); rows != 1 {
		t.Errorf("%d rows", rows)
	}
}
