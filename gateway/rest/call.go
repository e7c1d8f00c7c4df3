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
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
	"ecom/gateway/lane"
)

// A call is what was read, and found good, of one request. The id in the path is not part of it:
// the generated handlers read that themselves. It is the context that those run in, too: one that
// never ends, since all that they wait for is Invoke, which looks at the request's own.
type call struct {
	context.Context // without values or an end
	request         context.Context
	answer          answer
	idHeader        [1]string // the request's id, as a header holds it

	route          *route
	requestID      string
	traceparent    string // empty: none, or not a well-formed one
	userID         int64
	idempotencyKey *string
	list           listQuery
	ifNoneMatch    []string
	entityTag      [1]string // as a header holds it
	promises       bool      // an OK of the server binds it: the outcome of a broken call is unknown
}

type callKey struct{}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// Value finds the call itself.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return nil
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
	if c.route == productRoute {
		c.ifNoneMatch = r.Header["If-None-Match"]
	}
	c.promises = c.route.postIsAPromise && r.Method == http.MethodPost
	return nil
}

var noHeader, noForm = http.Header{}, url.Values{}

// bare is the request without anything that the generated handlers could take from it on their own
// account: no header, host, address, form (to which they would add the query) or body. They only
// read the shared empty maps.
func (c *call) bare(r *http.Request) *http.Request {
	bare := r.WithContext(c)
	bare.Header, bare.Host, bare.RemoteAddr = noHeader, "", ""
	bare.Form, bare.PostForm = noForm, noForm
	bare.Body, bare.ContentLength = http.NoBody, 0
	return bare
}

// contractConn is the connection as the generated handlers see it. It completes the message from
// the call, sends what is allowed beside it and no more, and sets our deadline.
type contractConn struct {
	server  Server
	timeout time.Duration
}

func (conn contractConn) Invoke(ctx context.Context, method string, request, reply any, _ ...grpc.CallOption) error {
	c := callFrom(ctx)
	in, isProto := request.(proto.Message)
	out, hasProto := reply.(proto.Message)
	if c == nil || !isProto || !hasProto {
		return status.Error(codes.Internal, "a call that no request asked for")
	}
	c.complete(request)
	terms := lane.Terms{RequestID: c.requestID, TraceParent: c.traceparent, Timeout: conn.timeout}
	begun, err := conn.server.Call(c.request, terms, method, in, out)
	if c.promises && begun && brokenOff(err) {
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
