package rest

import (
	"math"
	"net/http"
	"net/url"
	"strings"

	productv1 "ecom/gateway/gen/ecom/product/v1"
)

// A route is one path of the contract.
type route struct {
	name  string // for metrics and logs: never has a client's bytes in it
	allow string // the methods, in alphabetical order, as the Allow header shows them

	get, post      bool
	needsUser      bool
	readListQuery  bool
	readSizeOnly   bool
	postTakesAKey  bool
	postIsAPromise bool
}

var (
	couponIssueRoute = &route{
		name: "/coupons/{couponId}/issue", allow: "GET, POST", get: true, post: true,
		needsUser: true, postTakesAKey: true, postIsAPromise: true,
	}
	productRoute  = &route{name: "/products/{productId}", allow: "GET", get: true}
	productsRoute = &route{name: "/products", allow: "GET", get: true, readListQuery: true}
	popularRoute  = &route{name: "/products/popular", allow: "GET", get: true, readSizeOnly: true}
)

func (r *route) allows(method string) bool {
	return method == http.MethodGet && r.get || method == http.MethodPost && r.post
}

// findRoute takes a path as it stands in the request line, nothing decoded, and returns its route
// and the id in it, which may be malformed, or nil.
func findRoute(path string) (r *route, id string) {
	if rest, ok := strings.CutPrefix(path, "/products"); ok {
		switch {
		case rest == "":
			return productsRoute, ""
		case rest == "/popular":
			return popularRoute, ""
		case len(rest) > 1 && rest[0] == '/' && strings.IndexByte(rest[1:], '/') < 0:
			return productRoute, rest[1:]
		}
		return nil, ""
	}
	if rest, ok := strings.CutPrefix(path, "/coupons/"); ok {
		if id, ok := strings.CutSuffix(rest, "/issue"); ok && id != "" && strings.IndexByte(id, '/') < 0 {
			return couponIssueRoute, id
		}
	}
	return nil, ""
}

// parseID reads [1-9][0-9]* up to the largest int64, and nothing else.
func parseID(s string) (int64, bool) {
	if s == "" || len(s) > len("9223372036854775807") || s[0] == '0' {
		return 0, false
	}
	var n uint64 // 19 digits always fit
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return int64(n), n <= math.MaxInt64
}

// parseUserID wants exactly one header line.
func parseUserID(values []string) (int64, bool) {
	if len(values) != 1 {
		return 0, false
	}
	return parseID(values[0])
}

const (
	idempotencyKeyBytesMax = 128
	// A cursor holds a sort value and an id; this leaves room for long ones and none for abuse.
	cursorBytesMax = 512
)

// parseIdempotencyKey returns nil for a header that is absent.
func parseIdempotencyKey(values []string) (key *string, ok bool) {
	if len(values) == 0 {
		return nil, true
	}
	if len(values) != 1 || !visibleASCII(values[0], idempotencyKeyBytesMax) {
		return nil, false
	}
	return &values[0], true
}

// visibleASCII tells whether s is 1 to longest characters from ! to ~.
func visibleASCII(s string, longest int) bool {
	if s == "" || len(s) > longest {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// A listQuery holds what a list's query asked for. What is nil was not in it.
type listQuery struct {
	categoryID *int64
	isActive   *bool
	sort       productv1.ProductSort
	size       *int32
	cursor     *string
}

// parseListQuery reads the query of a product list. A parameter that it knows must not come twice,
// be empty or malformed; any other is ignored. With sizeOnly, size is the only one it knows.
func parseListQuery(raw string, sizeOnly bool) (q listQuery, ok bool) {
	seen := map[string]bool{}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(key)
		if err != nil || !knownParameter(key, sizeOnly) {
			continue
		}
		value, err = url.QueryUnescape(value)
		if err != nil || seen[key] || !q.set(key, value) {
			return listQuery{}, false
		}
		seen[key] = true
	}
	return q, true
}

func knownParameter(key string, sizeOnly bool) bool {
	switch key {
	case "size":
		return true
	case "categoryId", "isActive", "sort", "cursor":
		return !sizeOnly
	}
	return false
}

func (q *listQuery) set(key, value string) bool {
	switch key {
	case "categoryId":
		id, ok := parseID(value)
		q.categoryID = &id
		return ok
	case "isActive":
		active := value == "true"
		q.isActive = &active
		return active || value == "false"
	case "sort":
		switch value {
		case "price":
			q.sort = productv1.ProductSort_PRODUCT_SORT_PRICE
		case "views":
			q.sort = productv1.ProductSort_PRODUCT_SORT_VIEWS
		case "newest":
			q.sort = productv1.ProductSort_PRODUCT_SORT_NEWEST
		default:
			return false
		}
		return true
	case "size":
		n, ok := parseID(value)
		size := int32(min(n, math.MaxInt32))
		q.size = &size
		return ok && n <= 100
	case "cursor":
		q.cursor = &value
		return visibleASCII(value, cursorBytesMax)
	}
	return false
}

// readTraceparent wants exactly one header line; what is malformed is none.
func readTraceparent(values []string) string {
	if len(values) != 1 || !validTraceparent(values[0]) {
		return ""
	}
	return values[0]
}

// validTraceparent tells whether s is a W3C trace context of a version whose layout is known:
// version, trace id, parent id, flags; lower-case hex; the ids not all zero.
func validTraceparent(s string) bool {
	if len(s) != 55 || s[:2] == "ff" || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	const zeros = "00000000000000000000000000000000"
	return lowerHex(s[:2]) && lowerHex(s[3:35]) && lowerHex(s[36:52]) && lowerHex(s[53:]) &&
		s[3:35] != zeros && s[36:52] != zeros[:16]
}

func lowerHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}
