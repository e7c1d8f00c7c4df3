package e2e

import (
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"ecom/tests/stack"
)

// viewAll asks each of these addresses for the first ten products by many callers, and returns how
// many views were counted.
func viewAll(t *testing.T, rounds int, addrs ...string) int64 {
	t.Helper()
	var views atomic.Int64
	var callers sync.WaitGroup
	for caller := range 16 {
		callers.Go(func() {
			addr := addrs[caller%len(addrs)]
			for i := range 10 * rounds {
				response, err := http.Get(fmt.Sprintf("http://%s/products/%d", addr, 1+(caller+i)%10))
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close() // read to its end
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("%d %v", response.StatusCode, err)
					return
				}
				views.Add(1)
			}
		})
	}
	callers.Wait()
	return views.Load()
}

func storedViews(t *testing.T, db *sql.DB) int64 {
	t.Helper()
	var views int64
	if err := db.QueryRow("SELECT SUM(view_count) FROM products").Scan(&views); err != nil {
		t.Fatal(err)
	}
	return views
}

func TestViewsOfTwoServersShowOnBothAndAreStoredOnceThoughRedisIsKilled(t *testing.T) {
	t.Parallel()
	s := stack.NewReal(t, stack.DataDir(t))
	s.Up()
	program := s.Start()
	other := s.StartServer("other", "api")
	gateway := s.StartGateway(other)
	ready := stack.Until(stack.ReadyWithin, func() bool {
		response, err := http.Get("http://" + gateway.Admin + "/health/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	if !ready {
		t.Fatal("the other server does not serve")
	}
	db, _, _ := openStores(t, s)

	// What one server counts shows on the other, which has long known the product.
	const product = 42
	looks := viewCount(t, gateway.HTTP, product)
	for range 20 {
		viewCount(t, s.HTTP, product)
		looks++
	}
	// Looking counts too, so only who knows of the others' views shows all of them.
	var shown int64
	seen := stack.Until(viewShowsWithin, func() bool {
		looks++
		shown = viewCount(t, gateway.HTTP, product)
		return shown >= looks
	})
	if !seen || shown > looks {
		t.Errorf("shows %d views of %d", shown, looks)
	}

	counted := looks + viewAll(t, 25, s.HTTP, gateway.HTTP)
	if !stack.Until(viewStoredWithin, func() bool { return storedViews(t, db) == counted }) {
		t.Errorf("%d of %d views are stored", storedViews(t, db), counted)
	}

	// Views are counted on while nobody can add them up.
	s.Kill("redis")
	counted += viewAll(t, 10, s.HTTP, gateway.HTTP)
	s.Up("redis")
	counted += viewAll(t, 10, s.HTTP, gateway.HTTP)
	gateway.Stop()
	other.Stop()
	program.Stop()
	if stored := storedViews(t, db); stored != counted {
		t.Errorf("a clean stop left %d of %d views in the database", stored, counted)
	}
}
