package main

import (
	"runtime/debug"
	"slices"
	"strings"
)

// What the Go runtime is told unless the environment says otherwise; docs/adr/0013 has the figures.
const (
	// A request leaves garbage of a few KB over a live heap of a few MB, so that with Go's 100 a
	// collection comes after every few hundred requests.
	gcPercent = 400
	// Above this, and as much for each connection, memory is collected more often than that. A
	// connection that is in use holds about 16 KiB.
	memoryBase, memoryPerConnection = 64 << 20, 16 << 10
)

// tune spares most of the collector's work, and bounds what that costs in memory.
func tune(environ []string, connectionsMax int) {
	set := func(name string) bool {
		return slices.ContainsFunc(environ, func(entry string) bool {
			value, found := strings.CutPrefix(entry, name+"=")
			return found && value != ""
		})
	}
	if !set("GOGC") {
		debug.SetGCPercent(gcPercent)
	}
	if !set("GOMEMLIMIT") {
		debug.SetMemoryLimit(memoryBase + memoryPerConnection*int64(connectionsMax))
	}
}
