// Command ecom-gateway serves the REST API in front of the ecom gRPC server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"ecom/gateway/app"
	"ecom/gateway/config"
	"ecom/gateway/obs"
)

// What is built, set by the linker.
var version, commit = "dev", "unknown"

const (
	exitFailed        = 1  // the stop was not clean
	exitIO            = 74 // serving broke down
	exitMisconfigured = 78 // cannot start as configured; starting again would not help
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(args, environ []string, out, logOut io.Writer) int {
	c, err := config.Load(args, environ, out)
	if errors.Is(err, config.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(logOut, "ecom-gateway: cannot start:\n%v\n", err)
		return exitMisconfigured
	}
	tune(environ, c.ConnectionsMax)
	log := obs.NewLog(logOut, c.LogFormat, c.LogLevel)
	gateway, err := app.New(c, obs.NewBuild(version, commit, c.Digest), log)
	if err != nil {
		log.Error("cannot start", "error", err)
		return exitMisconfigured
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals
		os.Exit(exitFailed)
	}()
	err = gateway.Run(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		log.Error("stopped", "error", err)
		return exitFailed
	case err != nil:
		log.Error("stopped", "error", err)
		return exitIO
	}
	return 0
}
