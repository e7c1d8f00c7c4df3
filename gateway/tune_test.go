package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestTheRuntimeIsTunedUnlessTheEnvironmentSaysOtherwise(t *testing.T) {
	type tuning struct {
		gcPercent int
		memory    int64
	}
	reset := func(to tuning) (was tuning) {
		return tuning{debug.SetGCPercent(to.gcPercent), debug.SetMemoryLimit(to.memory)}
	}
	before := tuning{100, math.MaxInt64}
	defer reset(reset(before))
	for _, c := range []struct {
		name    string
		environ []string
		want    tuning
	}{
		{"nothing set", []string{"GOGCX=1", "A=GOGC=1"}, tuning{400, 128 << 20}},
		{"set to nothing", []string{"GOGC=", "GOMEMLIMIT="}, tuning{400, 128 << 20}},
		{"GOGC", []string{"GOGC=50"}, tuning{100, 128 << 20}},
		{"GOMEMLIMIT", []string{"GOMEMLIMIT=1GiB"}, tuning{400, math.MaxInt64}},
	} {
		reset(before)
		tune(c.environ, 4096)
		if got := reset(before); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
