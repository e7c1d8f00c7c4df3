// Command ecom-limit-rest is the least that a Go HTTP server can do: it answers every request with the
// same product. What it reaches on a machine is the limit of any gateway written with net/http there.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// As long as an answer of the gateway for a sample product, and as shaped.
const product = `{"id":1,"name":"부하테스트상품_1","price":10100.00,"stockQuantity":1000,"isActive":true,` +
	`"viewCount":1234567,"createdAt":"2025-12-25T18:02:23","updatedAt":"2025-12-25T18:02:23"}`

const (
	headerTimeout = 5 * time.Second
	stopTimeout   = 5 * time.Second
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8090", "where to listen")
	flag.Parse()
	if err := serve(*addr); err != nil {
		log.Fatal("ecom-limit-rest: ", err)
	}
}

func serve(addr string) error {
	server := &http.Server{Addr: addr, Handler: http.HandlerFunc(answer), ReadHeaderTimeout: headerTimeout}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return fmt.Errorf("cannot listen on %s: %w", addr, err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ecom-limit-rest:", err)
	}
	return nil
}

func answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(product))
}
