// Package app puts the gateway together, runs it and stops it.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"ecom/gateway/config"
	"ecom/gateway/edge"
	"ecom/gateway/lane"
	"ecom/gateway/limit"
	"ecom/gateway/obs"
	"ecom/gateway/rest"
	"ecom/gateway/tracing"
	"ecom/gateway/upstream"
)

// Operators and their tools: a few connections, short work.
const (
	adminConnectionsMax = 64
	adminWork           = time.Second
	// For the last views: a server that is started again meanwhile is there within 5 s.
	reportTimeout = 8 * time.Second
)

// A Gateway is listening from the moment it is made.
type Gateway struct {
	config   config.Config
	log      *slog.Logger
	upstream *upstream.Upstream
	lanes    *lane.Conn
	copies   *edge.Products  // nil: none are wanted
	traces   *tracing.Traces // nil: none are wanted
	api      *rest.Handler
	draining atomic.Bool

	public, admin                 *http.Server
	publicListener, adminListener *limit.Listener
}

// New opens the listeners and starts connecting to the server. An error means that the gateway
// cannot run as it is configured.
func New(c config.Config, build obs.Build, log *slog.Logger) (_ *Gateway, err error) {
	g := &Gateway{config: c, log: log}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	bodies := limit.Bodies{Malformed: rest.MalformedRequest(), HeadersTooLarge: rest.HeadersTooLarge()}
	if g.publicListener, err = listen("HTTP_ADDR", c.HTTPAddr, c.ConnectionsMax, bodies); err != nil {
		return nil, err
	}
	if g.adminListener, err = listen("GATEWAY_ADMIN_ADDR", c.AdminAddr, adminConnectionsMax, bodies); err != nil {
		return nil, err
	}
	if g.upstream, err = upstream.Connect(c.ServerTargets, log); err != nil {
		return nil, err
	}
	metrics := obs.NewMetrics(build)
	servers := make([]lane.Server, 0, len(c.ServerTargets))
	for _, server := range g.upstream.Servers() {
		servers = append(servers, server)
	}
	g.lanes = lane.New(g.upstream, servers, lane.Usual(c.Lanes, metrics, log))
	metrics.WatchLanes(g.lanes.Waiting)
	var server rest.Server = g.lanes
	if c.CopyAgeMax > 0 {
		g.copies = edge.New(g.lanes, edge.Usual(c.CopyAgeMax, c.UpstreamTimeout, metrics, log))
		metrics.WatchEdge(g.copies.Len)
		server = g.copies
	}
	var tracer trace.Tracer
	if c.TracesEndpoint != "" {
		if g.traces, err = tracing.New(tracing.Usual(c.TracesEndpoint, build.Name, build.Version, metrics, log)); err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
		}
		tracer = g.traces.Tracer()
	}
	g.api, err = rest.New(rest.Options{
		Zone: c.Zone, UpstreamTimeout: c.UpstreamTimeout, InFlightMax: c.InFlightMax,
		BodyBytesMax: limit.BodyBytesMax, CacheMaxAge: c.CacheMaxAge, Observe: metrics, Tracer: tracer, Log: log,
	}, server)
	if err != nil {
		return nil, err
	}
	g.public = limit.NewServer(g.api, limit.Times{Header: c.HeaderTimeout, Work: c.UpstreamTimeout}, log)
	g.admin = limit.NewServer(obs.NewAdmin(build, metrics, g.notReady, c.LogLevel), limit.Times{Header: c.HeaderTimeout, Work: adminWork}, log)
	return g, nil
}

func listen(name, address string, connectionsMax int, bodies limit.Bodies) (*limit.Listener, error) {
	l, err := limit.Listen(address, connectionsMax, bodies)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// HTTPAddr is where the REST API listens.
func (g *Gateway) HTTPAddr() string { return g.publicListener.Addr().String() }

// AdminAddr is where health, info and metrics are.
func (g *Gateway) AdminAddr() string { return g.adminListener.Addr().String() }

func (g *Gateway) notReady(ctx context.Context) string {
	switch {
	case g.draining.Load():
		return "draining"
	case !g.upstream.Serving(ctx):
		return "the server is not serving"
	}
	return ""
}

// Run serves until ctx is done, then stops in this order: not ready; every answer asks its
// connection to close; after the grace no connection is accepted; requests in flight finish; views
// that were shown from copies are reported; the connection to the server and the admin address close;
// the last spans go to the collector. It returns nil after a clean stop, and an error when serving
// failed or requests had to be cut off.
func (g *Gateway) Run(ctx context.Context) error {
	defer g.close()
	failed := make(chan error, 2)
	serve := func(s *http.Server, l net.Listener) {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			failed <- err
		}
	}
	go serve(g.admin, g.adminListener)
	go serve(g.public, g.publicListener)
	g.log.Info("serving", "http", g.HTTPAddr(), "admin", g.AdminAddr(), "servers", g.config.ServerTargets)

	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	g.log.Info("draining", "grace", g.config.DrainGrace.String(), "timeout", g.config.DrainTimeout.String())
	g.draining.Store(true)
	g.api.Drain()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-time.After(g.config.DrainGrace):
	}
	stop, cancel := context.WithTimeout(context.Background(), g.config.DrainTimeout)
	defer cancel()
	if err := g.finish(stop); err != nil {
		return fmt.Errorf("requests were cut off: %w", err)
	}
	if g.copies != nil {
		report, cancel := context.WithTimeout(context.Background(), reportTimeout)
		defer cancel()
		if lost := g.copies.Close(report); lost > 0 {
			return fmt.Errorf("%d views could not be reported to the server", lost)
		}
	}
	g.log.Info("stopped")
	return nil
}

// finish closes the public listener and waits until its last connection has closed. It is not
// http.Server.Shutdown, which drops a request that it reads in the moment in which it begins.
func (g *Gateway) finish(stop context.Context) error {
	g.public.SetKeepAlivesEnabled(false) // what is idle must not keep others from being accepted
	g.publicListener.Quiesce(stop)
	_ = g.publicListener.Close() // the kernel has nothing to say about it that could be acted upon
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for g.publicListener.Open() > 0 {
		g.public.SetKeepAlivesEnabled(false) // closes those that are idle by now
		select {
		case <-stop.Done():
			return stop.Err()
		case <-poll.C:
		}
	}
	return nil
}

func (g *Gateway) close() {
	if g.public != nil {
		_ = g.public.Close() // after a clean stop there is nothing left to close
		_ = g.admin.Close()
	}
	for _, l := range []*limit.Listener{g.publicListener, g.adminListener} {
		if l != nil {
			_ = l.Close()
		}
	}
	if g.copies != nil {
		gone, cancel := context.WithCancel(context.Background())
		cancel() // after a clean stop nothing is left to report
		_ = g.copies.Close(gone)
	}
	if g.lanes != nil {
		g.lanes.Close()
	}
	if g.upstream != nil {
		_ = g.upstream.Close()
	}
	if g.traces != nil {
		g.traces.Close()
	}
}
