package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"ecom/tests/stack"
	"ecom/tests/wire"
)

// The contract's bounds.
const (
	viewShowsWithin  = 2 * time.Second
	viewStoredWithin = 15 * time.Second
)

func viewCount(t *testing.T, addr string, product int) int64 {
	t.Helper()
	response := send(t, addr, "GET", fmt.Sprintf("/products/%d", product))
	var body struct {
		ViewCount *int64 `json:"viewCount"`
	}
	if err := json.Unmarshal(response.Body, &body); err != nil || body.ViewCount == nil {
		t.Fatalf("%d %s", response.Status, response.Body)
	}
	return *body.ViewCount
}

func TestViewsShowWithinTwoSecondsAndAreStoredWithinFifteen(t *testing.T) {
	t.Parallel()
	s := stack.New(t, stack.DataDir(t))
	program := s.Start()
	services := dialGRPC(t, s.GRPC)
	const product, each = 42, 25
	for range each {
		viewCount(t, s.HTTP, product)
		services.call(t, "ecom.product.v1.ProductService/GetProduct", `{"productId":"42"}`)
	}
	views := int64(2 * each)
	// Looking counts too: the count must reach what had been counted two seconds before.
	started := time.Now()
	var shown int64
	seen := stack.Until(viewShowsWithin, func() bool {
		shown = viewCount(t, s.HTTP, product)
		views++
		return shown >= 2*each
	})
	if !seen {
		t.Errorf("shows %d views %v after %d", shown, time.Since(started), 2*each)
	}
	if shown > views {
		t.Errorf("shows %d views of %d", shown, views)
	}
	for _, path := range []string{"/products/popular?size=1", "/products?sort=views&size=1"} {
		var list *wire.Response
		inList := stack.Until(viewShowsWithin, func() bool {
			list = send(t, s.HTTP, "GET", path)
			return strings.HasPrefix(string(list.Body), `{"items":[{"id":42,`) && !strings.Contains(string(list.Body), `"viewCount":0`)
		})
		if !inList {
			t.Errorf("%s does not show the views %v after: %s", path, time.Since(started), list.Body)
		}
	}
	// Neither lists nor what was not found count.
	for _, path := range []string{"/products?size=100", "/products/popular?size=100", "/products/4242"} {
		send(t, s.HTTP, "GET", path)
	}
	stored := func() int64 {
		return queryNumber(t, s.DataDir, "SELECT view_count FROM products WHERE id = 42")
	}
	if !stack.Until(viewStoredWithin, func() bool { return stored() == views }) {
		t.Errorf("%d views in the file, want %d", stored(), views)
	}
	sum := queryNumber(t, s.DataDir, "SELECT sum(view_count) FROM products")
	if sum != views {
		t.Errorf("%d views of all products, want %d", sum, views)
	}
	program.Stop()
	s.Start()
	if again := viewCount(t, s.HTTP, product); again < views || again > views+1 {
		t.Errorf("%d views after a restart, want %d", again, views)
	}
}
