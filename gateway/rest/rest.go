// Package rest is the REST API: routes, the exact JSON and the errors of the contract, in front of
// the handlers that grpc-gateway generates.
//
// A request is decided here in the contract's order (route, method, size, ids, headers, query)
// before the generated handlers see it, and they see nothing of it but method and path: identity,
// key and query reach the gRPC message only as values that were checked here.
package rest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/lane"
)

// Options are the limits and the surroundings of the API.
type Options struct {
	Zone            *time.Location // in which answers show times
	UpstreamTimeout time.Duration  // of one call to the server
	InFlightMax     int            // requests that wait for the server; more get CM503 at once
	BodyBytesMax    int64          // of a request; no route reads a body
	CacheMaxAge     time.Duration  // how long others may answer with a product without asking
	Observe         Observer
	Tracer          trace.Tracer // of requests' spans; nil: there are none
	Log             *slog.Logger
}

// An Observer is told of each request: when it begins, and how it ended. Its methods are called
// from many goroutines and must not block. Route is one of a fixed set of names, "none" for none.
type Observer interface {
	Begin()
	End(method, route string, status int, took time.Duration)
}

// A Server takes the calls that requests become. Begun, of a call that failed, says whether the
// server has, or may have, begun it; UNAVAILABLE without details is a connection that broke.
type Server interface {
	Call(ctx context.Context, terms lane.Terms, method string, request, reply proto.Message) (begun bool, err error)
}

// A Handler serves the REST API. Thread-safe.
type Handler struct {
	options  Options
	mux      *runtime.ServeMux
	inFlight atomic.Int64
	draining atomic.Bool
}

// New builds the API on a connection to the server.
func New(options Options, server Server) (*Handler, error) {
	none := func(string) (string, bool) { return "", false }
	h := &Handler{options: options}
	h.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, contractJSON{options.Zone}),
		runtime.WithErrorHandler(h.writeError),
		runtime.WithRoutingErrorHandler(h.writeRoutingError),
		runtime.WithIncomingHeaderMatcher(none),
		runtime.WithOutgoingHeaderMatcher(none),
		runtime.WithOutgoingTrailerMatcher(none),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithWriteContentLength(),
		runtime.WithForwardResponseOption(newCaching(options.CacheMaxAge, options.Zone).describe),
	)
	conn := contractConn{server, options.UpstreamTimeout}
	ctx := context.Background() // of no use to these: they neither dial nor wait
	err := errors.Join(
		couponv1.RegisterCouponServiceHandlerClient(ctx, h.mux, couponv1.NewCouponServiceClient(conn)),
		productv1.RegisterProductServiceHandlerClient(ctx, h.mux, productv1.NewProductServiceClient(conn)),
	)
	return h, err
}

// Drain makes every answer from now on ask its connection to close.
func (h *Handler) Drain() { h.draining.Store(true) }

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call{
		Context: context.Background(), request: r.Context(), answer: answer{ResponseWriter: w}, requestID: newRequestID(),
	}
	a := &c.answer
	var span trace.Span // nil: none
	h.options.Observe.Begin()
	defer func() {
		if cause := recover(); cause != nil {
			h.options.Log.Error("a handler panicked", "request_id", c.requestID, "cause", cause, "stack", string(debug.Stack()))
			if a.status == 0 {
				internalError.write(a)
			}
		}
		h.options.Observe.End(r.Method, c.routeName(), a.status, time.Since(began))
		if span != nil {
			endSpan(span, a.status)
		}
	}()

	header := w.Header()
	c.idHeader[0] = c.requestID
	header["X-Request-Id"] = c.idHeader[:]
	if h.draining.Load() {
		header["Connection"] = []string{"close"}
	}
	c.traceparent = readTraceparent(r.Header["Traceparent"])
	p := h.accept(a, r, c)
	if h.options.Tracer != nil {
		span = c.startSpan(h.options.Tracer, r, began)
	}
	if p != nil {
		p.write(a)
		return
	}
	if h.inFlight.Add(1) > int64(h.options.InFlightMax) {
		h.inFlight.Add(-1)
		unavailable.write(a)
		return
	}
	defer h.inFlight.Add(-1)
	h.mux.ServeHTTP(a, c.bare(r))
}

// accept fills c from the request, or says why it is refused. The order is the contract's.
func (h *Handler) accept(w http.ResponseWriter, r *http.Request, c *call) *problem {
	path := r.URL.EscapedPath()
	found, id := findRoute(path)
	if found == nil {
		return noRoute
	}
	c.route = found
	if !found.allows(r.Method) {
		w.Header()["Allow"] = []string{found.allow}
		return methodNotAllowed
	}
	if p := h.discardBody(w, r); p != nil {
		return p
	}
	if id != "" {
		if _, ok := parseID(id); !ok {
			return badRequest
		}
	}
	return c.read(r)
}

// discardBody takes the body off the connection, up to the limit.
func (h *Handler) discardBody(w http.ResponseWriter, r *http.Request) *problem {
	if r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	if r.ContentLength > h.options.BodyBytesMax {
		w.Header()["Connection"] = []string{"close"}
		return bodyTooLarge
	}
	var tooLarge *http.MaxBytesError
	_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, h.options.BodyBytesMax))
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		w.Header()["Connection"] = []string{"close"}
		return bodyTooLarge
	default: // broken framing, or not all of it within the server's read timeout
		w.Header()["Connection"] = []string{"close"}
		return badRequest
	}
}

func (h *Handler) writeError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	p := problemOf(err)
	level := slog.LevelDebug
	if p == internalError {
		level = slog.LevelError
	}
	if c := callFrom(ctx); c != nil && h.options.Log.Enabled(ctx, level) {
		h.options.Log.Log(ctx, level, "a call failed", "request_id", c.requestID, "route", c.routeName(), "code", p.code, "error", err)
	}
	p.write(w)
}

// writeRoutingError is for requests that our routes let through and the generated ones do not:
// there are none as long as the two agree, which a test sees to.
func (h *Handler) writeRoutingError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, status int) {
	h.options.Log.Error("routes disagree", "request_id", callFrom(ctx).requestID, "method", r.Method, "path", r.URL.Path, "status", status)
	internalError.write(w)
}

// An answer remembers its status.
type answer struct {
	http.ResponseWriter
	status      int
	notModified bool // instead of an OK: the caller has what would be its body
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 && a.notModified {
		header := a.Header()
		delete(header, "Content-Type")
		delete(header, "Content-Length")
		a.WriteHeader(http.StatusNotModified)
	}
	if a.status == http.StatusNotModified {
		return len(b), nil
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.MaxBytesReader and http.ResponseController find the server's own writer.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
