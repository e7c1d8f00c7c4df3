package rest

import (
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	idPattern    = regexp.MustCompile(`\A[1-9][0-9]*\z`)
	tracePattern = regexp.MustCompile(`\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\z`)
)

// idByTheBook is the contract's definition, word by word.
func idByTheBook(s string) (int64, bool) {
	if !idPattern.MatchString(s) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func FuzzIDsAreThoseOfTheContract(f *testing.F) {
	for _, s := range []string{"", "1", "0", "01", "+1", "-1", "0x1", "1_0", "9223372036854775807", "9223372036854775808", "18446744073709551617", "１", "1 ", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseID(s)
		want, wantOK := idByTheBook(s)
		if ok != wantOK || ok && got != want {
			t.Errorf("%q: got %d, %v; want %d, %v", s, got, ok, want, wantOK)
		}
	})
}

func FuzzPathsFindTheRouteThatTheirSegmentsSay(f *testing.F) {
	for _, s := range []string{
		"", "/", "/products", "/products/", "/products/1", "/products/popular", "/products/popular/", "/products/1/2", "/productsx",
		"/coupons", "/coupons/", "/coupons/1", "/coupons/1/issue", "/coupons//issue", "/coupons/issue", "/coupons/1/issue/", "//coupons/1/issue", "/coupons/1/2/issue", "/coupons/a%2Fb/issue",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got, id := findRoute(path)
		var want *route
		wantID := ""
		segments := strings.Split(path, "/")
		if segments[0] == "" && len(segments) > 1 && segments[1] != "" && segments[len(segments)-1] != "" {
			switch segments = segments[1:]; {
			case len(segments) == 1 && segments[0] == "products":
				want = productsRoute
			case len(segments) == 2 && segments[0] == "products" && segments[1] == "popular":
				want = popularRoute
			case len(segments) == 2 && segments[0] == "products":
				want, wantID = productRoute, segments[1]
			case len(segments) == 3 && segments[0] == "coupons" && segments[1] != "" && segments[2] == "issue":
				want, wantID = couponIssueRoute, segments[1]
			}
		}
		if got != want || id != wantID {
			t.Errorf("%q: got %v %q, want %v %q", path, got, id, want, wantID)
		}
	})
}

func FuzzListQueriesKeepTheContractsBounds(f *testing.F) {
	for _, s := range []string{
		"", "size=1", "size=100&sort=price&isActive=true&categoryId=7&cursor=abc", "size=5&size=5", "%73ize=5&size=5", "size=%35", "x=%zz&size=2",
		"size", "&&&", "=", "size=5;sort=price", "cursor=%00", "cursor=%EA%B0%80", "sort=newest&sort", "isActive=1", "categoryId=9223372036854775808",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, raw string, sizeOnly bool) {
		got, ok := parseListQuery(raw, sizeOnly)
		// The standard parser is no reference for what is malformed, but where it has no complaint
		// it says how often a parameter came, and its value.
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		names := []string{"size", "categoryId", "isActive", "sort", "cursor"}
		if sizeOnly {
			names = names[:1]
		}
		wantOK := true
		for _, name := range names {
			switch v := values[name]; {
			case len(v) > 1:
				wantOK = false
			case len(v) == 1:
				wantOK = wantOK && goodParameter(name, v[0])
			}
		}
		if ok != wantOK {
			t.Fatalf("%q: got %v, want %v", raw, ok, wantOK)
		}
		if !ok {
			return
		}
		has := func(name string) bool { return values.Has(name) && !(sizeOnly && name != "size") }
		if has("size") != (got.size != nil) || got.size != nil && strconv.Itoa(int(*got.size)) != values.Get("size") {
			t.Errorf("%q: size %v", raw, got.size)
		}
		if has("categoryId") != (got.categoryID != nil) || got.categoryID != nil && strconv.FormatInt(*got.categoryID, 10) != values.Get("categoryId") {
			t.Errorf("%q: category %v", raw, got.categoryID)
		}
		if has("isActive") != (got.isActive != nil) || got.isActive != nil && strconv.FormatBool(*got.isActive) != values.Get("isActive") {
			t.Errorf("%q: active %v", raw, got.isActive)
		}
		if has("cursor") != (got.cursor != nil) || got.cursor != nil && *got.cursor != values.Get("cursor") {
			t.Errorf("%q: cursor %v", raw, got.cursor)
		}
		if has("sort") != (got.sort != 0) {
			t.Errorf("%q: sort %v", raw, got.sort)
		}
	})
}

func goodParameter(name, value string) bool {
	switch name {
	case "size":
		n, ok := idByTheBook(value)
		return ok && n <= 100
	case "categoryId":
		_, ok := idByTheBook(value)
		return ok
	case "isActive":
		return value == "true" || value == "false"
	case "sort":
		return value == "price" || value == "views" || value == "newest"
	default:
		return regexp.MustCompile(`\A[!-~]{1,512}\z`).MatchString(value)
	}
}

func FuzzHeadersAreReadAsTheContractSays(f *testing.F) {
	for _, s := range []string{"", "1", "0", "k-1", "a b", "\x7f", "키", strings.Repeat("k", 128), strings.Repeat("k", 129), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"} {
		f.Add(s, uint8(1))
		f.Add(s, uint8(2))
		f.Add(s, uint8(0))
	}
	f.Fuzz(func(t *testing.T, value string, times uint8) {
		values := make([]string, times%4)
		for i := range values {
			values[i] = value
		}
		id, wantID := idByTheBook(value)
		if got, ok := parseUserID(values); ok != (len(values) == 1 && wantID) || ok && got != id {
			t.Errorf("user %q: %d, %v", values, got, ok)
		}
		key, ok := parseIdempotencyKey(values)
		visible := regexp.MustCompile(`\A[!-~]{1,128}\z`).MatchString(value)
		if ok != (len(values) == 0 || len(values) == 1 && visible) || ok && (key != nil) != (len(values) == 1) {
			t.Errorf("key %q: %v, %v", values, key, ok)
		}
		wellFormed := tracePattern.MatchString(value) && !strings.HasPrefix(value, "ff") &&
			!strings.Contains(value, "-"+strings.Repeat("0", 32)+"-") && !strings.Contains(value, "-"+strings.Repeat("0", 16)+"-")
		if got := validTraceparent(value); got != wellFormed {
			t.Errorf("trace %q: %v", value, got)
		}
	})
}

func TestTheLargestIDIsTheLargestInt64(t *testing.T) {
	if n, ok := parseID("9223372036854775807"); !ok || n != math.MaxInt64 {
		t.Errorf("got %d, %v", n, ok)
	}
}

func TestAllowedMethodsAreThoseThatTheRouteServes(t *testing.T) {
	for _, r := range []*route{couponIssueRoute, productRoute, productsRoute, popularRoute} {
		var served []string
		for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut} {
			if r.allows(method) {
				served = append(served, method)
			}
		}
		if got := strings.Join(served, ", "); got != r.allow {
			t.Errorf("%s: serves %q, says %q", r.name, got, r.allow)
		}
	}
}
