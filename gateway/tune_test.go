package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTheRuntimeIsTunedUnlessTheEnvironmentSaysOtherwise(t *testing.T) {
	type tuning struct {
		gcPercent, procs int
		memory           int64
	}
	reset := func(to tuning) (was tuning) {
		return tuning{debug.SetGCPercent(to.gcPercent), runtime.GOMAXPROCS(to.procs), debug.SetMemoryLimit(to.memory)}
	}
	before := tuning{100, 4, math.MaxInt64}
	defer reset(reset(before))
	for _, c := range []struct {
		name    string
		environ []string
		want    tuning
	}{
		{"nothing set", []string{"GOGCX=1", "A=GOGC=1"}, tuning{400, 2, 128 << 20}},
		{"set to nothing", []string{"GOGC=", "GOMEMLIMIT=", "GOMAXPROCS="}, tuning{400, 2, 128 << 20}},
		{"GOGC", []string{"GOGC=50"}, tuning{100, 2, 128 << 20}},
		{"GOMEMLIMIT", []string{"GOMEMLIMIT=1GiB"}, tuning{400, 2, math.MaxInt64}},
		{"GOMAXPROCS", []string{"GOMAXPROCS=3"}, tuning{400, 4, 128 << 20}},
	} {
		reset(before)
		tune(c.environ, 4096)
		if got := reset(before); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	runtime.GOMAXPROCS(1)
	if tune(nil, 1); runtime.GOMAXPROCS(0) != 1 {
		t.Errorf("of one core %d are used", runtime.GOMAXPROCS(0))
	}
}
