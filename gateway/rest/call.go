package rest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
)

// A call is what was read, and found good, of one request. The id in the path is not part of it:
// the generated handlers read that themselves.
type call struct {
	route          *route
	requestID      string
	traceparent    string // empty: none, or not a well-formed one
	userID         int64
	idempotencyKey *string
	list           listQuery
	promises       bool // an OK of the server binds it: the outcome of a broken call is unknown
}

type callKey struct{}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

func (c *call) routeName() string {
	if c.route == nil {
		return "none"
	}
	return c.route.name
}

// read takes what the route wants from headers and query.
func (c *call) read(r *http.Request) *problem {
	var ok bool
	if c.route.needsUser {
		if c.userID, ok = parseUserID(r.Header["Userid"]); !ok {
			return badRequest
		}
	}
	if c.route.postTakesAKey && r.Method == http.MethodPost {
		if c.idempotencyKey, ok = parseIdempotencyKey(r.Header["Idempotency-Key"]); !ok {
			return badRequest
		}
	}
	if c.route.readListQuery || c.route.readSizeOnly {
		if c.list, ok = parseListQuery(r.URL.RawQuery, c.route.readSizeOnly); !ok {
			return badRequest
		}
	}
	c.promises = c.route.postIsAPromise && r.Method == http.MethodPost
	if values := r.Header["Traceparent"]; len(values) == 1 && validTraceparent(values[0]) {
		c.traceparent = values[0]
	}
	return nil
}

var noHeader, noForm = http.Header{}, url.Values{}

// bare is the request without anything that the generated handlers could take from it on their own
// account: no header, host, address, form (to which they would add the query) or body. They only
// read the shared empty maps.
func (c *call) bare(r *http.Request) *http.Request {
	bare := r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	bare.Header, bare.Host, bare.RemoteAddr = noHeader, "", ""
	bare.Form, bare.PostForm = noForm, noForm
	bare.Body, bare.ContentLength = http.NoBody, 0
	return bare
}

// contractConn is the connection as the generated handlers see it. It completes the message from
// the call, sends the metadata that is allowed and no other, and sets our deadline.
type contractConn struct {
	server  grpc.ClientConnInterface
	timeout time.Duration
}

func (conn contractConn) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	c := callFrom(ctx)
	if c == nil {
		return status.Error(codes.Internal, "a call that no request asked for")
	}
	c.complete(request)
	ctx, cancel := context.WithTimeout(ctx, conn.timeout)
	defer cancel()
	md := metadata.MD{"x-request-id": []string{c.requestID}}
	if c.traceparent != "" {
		md["traceparent"] = []string{c.traceparent}
	}
	ctx = metadata.NewOutgoingContext(ctx, md)
	if !c.promises {
		return conn.server.Invoke(ctx, method, request, reply, options...)
	}

	var handedTo peer.Peer // stays empty when the call never got as far as a connection
	err := conn.server.Invoke(ctx, method, request, reply, append(options, grpc.Peer(&handedTo))...)
	if handedTo.Addr != nil && brokenOff(err) {
		return status.Errorf(codes.DeadlineExceeded, "outcome unknown: %v", err)
	}
	return err
}

// brokenOff tells a connection that broke from a server that answered "unavailable": only the
// latter comes with details.
func brokenOff(err error) bool {
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.Unavailable && len(s.Proto().GetDetails()) == 0
}

func (contractConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "the REST API has no streams")
}

func (c *call) complete(request any) {
	switch m := request.(type) {
	case *couponv1.IssueCouponRequest:
		m.UserId, m.IdempotencyKey = c.userID, c.idempotencyKey
	case *couponv1.GetCouponIssueRequest:
		m.UserId = c.userID
	case *productv1.ListProductsRequest:
		m.CategoryId, m.IsActive, m.Sort = c.list.categoryID, c.list.isActive, c.list.sort
		m.PageSize, m.Cursor = c.list.size, c.list.cursor
	case *productv1.ListPopularProductsRequest:
		m.PageSize = c.list.size
	}
}

// newRequestID names a request in logs: unique, not secret.
func newRequestID() string {
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	return hex.EncodeToString(id[:])
}
