// Package wait is how the gateway's tests wait: for a condition, and within a bound.
package wait

import (
	"testing"
	"time"
)

// patience is far above what any wait takes.
const patience = 20 * time.Second

// Until waits until the condition holds, and fails the test when it does not in time.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}
