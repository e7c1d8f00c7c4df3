package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// A Stage ramps linearly from the stage before to Users.
type Stage struct {
	Duration time.Duration
	Users    int
}

const (
	// SHORT runs the stages this much faster: 15 s instead of 90.
	shortFactor = 6
	// How often users are added or let go: 300 users in 30 s come 10 a second.
	rampTick = 20 * time.Millisecond
	// In the open model, requests that may wait for their answers; what comes on top is dropped and
	// fails the run. Two seconds' worth of the fastest rate asked for.
	maxInFlight = 10_000
	// Beyond this the generator, not the server, is what is measured on a small machine.
	maxRate = 20_000
)

func stages(short bool) []Stage {
	all := []Stage{
		{15 * time.Second, 50},
		{15 * time.Second, 100},
		{30 * time.Second, 300},
		{15 * time.Second, 100},
		{15 * time.Second, 0},
	}
	if short {
		for i := range all {
			all[i].Duration /= shortFactor
		}
	}
	return all
}

func openDuration(short bool) time.Duration {
	if short {
		return 15 * time.Second
	}
	return time.Minute
}

// UsersAt says how many users there are after `elapsed`, and whether the last stage is over.
func UsersAt(all []Stage, elapsed time.Duration) (users int, over bool) {
	from := 0
	for _, stage := range all {
		if elapsed < stage.Duration {
			share := float64(elapsed) / float64(stage.Duration)
			return from + int(float64(stage.Users-from)*share), false
		}
		elapsed -= stage.Duration
		from = stage.Users
	}
	return 0, true
}

// ClosedLoad lets virtual users come and go as the stages say; each sends its next request when the
// last one was answered and it has thought. Returns when the last answer is in.
func ClosedLoad(ctx context.Context, scenario Scenario, recorder *Recorder, all []Stage, think bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var target atomic.Int64
	var users sync.WaitGroup
	running := map[int]chan struct{}{}

	ticker := time.NewTicker(rampTick)
	defer ticker.Stop()
	for began := time.Now(); ; {
		count, over := UsersAt(all, time.Since(began))
		target.Store(int64(count))
		if over || ctx.Err() != nil {
			break
		}
		for id := range count {
			if done, ok := running[id]; ok && !closed(done) {
				continue
			}
			done := make(chan struct{})
			running[id] = done
			users.Go(func() {
				defer close(done)
				for int64(id) < target.Load() && ctx.Err() == nil {
					began := time.Now()
					// A request that was sent is let finish, so that its answer is counted.
					outcome := scenario.Request(context.WithoutCancel(ctx))
					recorder.Add(outcome, time.Since(began))
					if think {
						pause(ctx, scenario)
					}
				}
			})
		}
		<-ticker.C
	}
	cancel()
	users.Wait()
}

func closed(done chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, scenario Scenario) {
	shortest, longest := scenario.ThinkTime()
	timer := time.NewTimer(shortest + rand.N(longest-shortest))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// OpenLoad sends `rate` requests a second at fixed times, whatever the answers take, and returns how
// many it had to drop because maxInFlight were waiting. A latency counts from the time at which the
// request was due: a generator or a server that falls behind cannot hide it.
func OpenLoad(ctx context.Context, scenario Scenario, recorder *Recorder, rate int, duration time.Duration) (dropped int64) {
	var requests sync.WaitGroup
	slots := make(chan struct{}, maxInFlight)
	began := time.Now()
	total := int64(duration.Seconds() * float64(rate))
	for i := int64(0); i < total && ctx.Err() == nil; i++ {
		due := began.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))
		// Sleeping is coarse; several requests that are due at once simply go out together.
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		select {
		case slots <- struct{}{}:
		default:
			dropped++
			continue
		}
		requests.Go(func() {
			defer func() { <-slots }()
			recorder.Add(scenario.Request(context.WithoutCancel(ctx)), time.Since(due))
		})
	}
	requests.Wait()
	return dropped
}
