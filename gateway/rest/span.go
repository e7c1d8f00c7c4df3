package rest

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

var w3c propagation.TraceContext

// startSpan begins the request's span, in the caller's trace if that named one. The call to the server
// belongs to this span from here on.
func (c *call) startSpan(tracer trace.Tracer, r *http.Request, began time.Time) trace.Span {
	headers := propagation.MapCarrier{"traceparent": c.traceparent}
	ctx := w3c.Extract(context.Background(), headers)
	ctx, span := tracer.Start(ctx, c.spanName(r.Method), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began))
	if span.IsRecording() {
		span.SetAttributes(c.attributes(r)...)
	}
	w3c.Inject(ctx, headers)
	c.traceparent = headers.Get("traceparent")
	return span
}

// endSpan ends a server's span: what the client did wrong is no error of the server.
func endSpan(span trace.Span, status int) {
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// spanName has nothing in it that a client could make up: names are what tools group by.
func (c *call) spanName(method string) string {
	if !knownMethod(method) {
		method = "HTTP"
	}
	if c.route == nil {
		return method
	}
	return method + " " + c.route.name
}

// attributes are named by OpenTelemetry's conventions for HTTP servers.
func (c *call) attributes(r *http.Request) []attribute.KeyValue {
	attributes := []attribute.KeyValue{
		semconv.URLScheme("http"), semconv.URLPath(r.URL.EscapedPath()), // escaped: OTLP takes UTF-8 only
		attribute.StringSlice("http.response.header.x-request-id", c.idHeader[:]),
	}
	if c.route != nil {
		attributes = append(attributes, semconv.HTTPRoute(c.route.name))
	}
	if knownMethod(r.Method) {
		return append(attributes, semconv.HTTPRequestMethodKey.String(r.Method))
	}
	return append(attributes, semconv.HTTPRequestMethodOther, semconv.HTTPRequestMethodOriginal(r.Method))
}

func knownMethod(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return true
	}
	return false
}
