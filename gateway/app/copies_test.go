package app

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ecom/gateway/config"
	"ecom/gateway/internal/wait"
)

func withCopies(c *config.Config) { c.CopyAgeMax = patience }

func TestProductsAreAnsweredFromCopiesAndEachViewIsCounted(t *testing.T) {
	g, server := startBoth(t, nil, withCopies)
	asked := int64(0)
	wait.Until(t, "a copy", func() bool {
		send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
		asked++
		read, _ := server.Views()
		return read < asked
	})
	const readers, each = 16, 50
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			for range each {
				if answer, body := send(t, g.HTTPAddr(), "", request("GET", "/products/1")); answer.StatusCode != 200 {
					t.Errorf("got %d %s", answer.StatusCode, body)
				}
			}
		})
	}
	all.Wait()
	g.stop()
	if err := <-g.stopped; err != nil {
		t.Fatal(err)
	}
	g.stopped <- nil // for the test's end
	read, shownElsewhere := server.Views()
	if want := asked + readers*each; read+shownElsewhere != want {
		t.Errorf("%d reads and %d views of copies, want %d in all", read, shownElsewhere, want)
	}
	if read >= asked+readers {
		t.Errorf("the server was asked %d times", read)
	}
}

func TestAProductThatDidNotChangeIsConfirmedAndStillCounted(t *testing.T) {
	g, server := startBoth(t, nil, func(c *config.Config) { c.CacheMaxAge = 90 * time.Second })
	for attempt := 1; ; attempt++ {
		first, _ := send(t, g.HTTPAddr(), "", request("GET", "/products/1"))
		tag := first.Header.Get("Etag")
		if got := first.Header.Get("Cache-Control"); got != "public, max-age=90" || !strings.HasPrefix(tag, `W/"`) {
			t.Fatalf("Cache-Control: %q, ETag: %q", got, tag)
		}
		again, body := send(t, g.HTTPAddr(), "", request("GET", "/products/1", `If-None-Match: "a", `+tag))
		if again.StatusCode != http.StatusNotModified && attempt == 1 {
			continue // a minute has begun in between
		}
		if again.StatusCode != http.StatusNotModified || body != "" || again.Header.Get("Etag") != tag || again.Header.Get("Content-Type") != "" {
			t.Fatalf("got %d %q, %v", again.StatusCode, body, again.Header)
		}
		if read, _ := server.Views(); read != int64(2*attempt) {
			t.Errorf("%d views are counted, want %d", read, 2*attempt)
		}
		break
	}
	other, _ := send(t, g.HTTPAddr(), "", request("GET", "/products/2", `If-None-Match: "a"`))
	if other.StatusCode != 200 {
		t.Errorf("got %d for a tag that is not the product's", other.StatusCode)
	}
	if gone, _ := send(t, g.HTTPAddr(), "", request("GET", "/products/101", "If-None-Match: *")); gone.StatusCode != 404 {
		t.Errorf("got %d for a product that is not there", gone.StatusCode)
	}
}
