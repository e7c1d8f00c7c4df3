package rest

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	productv1 "ecom/gateway/gen/ecom/product/v1"
)

// caching says what browsers and CDNs may do with a product (RFC 9111), and when theirs is still good
// (RFC 9110, section 13.1.2). Thread-safe.
type caching struct {
	control []string
	// confirmed is for how long a product that did not change is confirmed by 304: so far may the count
	// of views fall behind in a cache that asks each time.
	confirmed time.Duration
	zone      string // times are shown in it
}

// newCaching lets others show a product for maxAge without asking. 0: they have to ask each time.
func newCaching(maxAge time.Duration, zone *time.Location) caching {
	control := "no-cache"
	if maxAge > 0 {
		control = fmt.Sprintf("public, max-age=%d", int64(maxAge.Seconds()))
	}
	// A view shows within 2 s, unless more was allowed.
	return caching{[]string{control}, max(maxAge, time.Second), zone.String()}
}

// describe sets the headers of an answer that is one product. A forward response option.
func (k caching) describe(ctx context.Context, w http.ResponseWriter, m proto.Message) error {
	answer, ok := m.(interface{ GetProduct() *productv1.Product })
	if !ok {
		return nil
	}
	c := callFrom(ctx)
	tag := k.entityTag(answer.GetProduct(), time.Now())
	c.entityTag[0] = tag
	header := w.Header()
	header["Etag"], header["Cache-Control"] = c.entityTag[:], k.control
	c.answer.notModified = matches(c.ifNoneMatch, tag)
	return nil
}

// entityTag names all of a product but its views, which grow with each answer: weak, for that reason,
// and for a moment only.
func (k caching) entityTag(p *productv1.Product, now time.Time) string {
	var room [192]byte
	b := room[:0]
	for _, n := range [...]int64{
		p.GetId(), p.GetPriceMinor(), p.GetStockQuantity(), p.GetCreatedAt().GetSeconds(), p.GetUpdatedAt().GetSeconds(),
		now.UnixNano() / int64(k.confirmed),
	} {
		b = append(strconv.AppendInt(b, n, 36), ' ')
	}
	b = append(strconv.AppendBool(b, p.GetIsActive()), ' ')
	b = append(append(b, k.zone...), ' ')
	hash := fnv.New64a()
	_, _ = hash.Write(append(b, p.GetName()...)) // never fails
	return string(append(strconv.AppendUint(append(room[:0], `W/"`...), hash.Sum64(), 36), '"'))
}

// matches tells whether one of the tags in If-None-Match is this one, by weak comparison. "*" is any.
func matches(ifNoneMatch []string, tag string) bool {
	opaque := strings.TrimPrefix(tag, "W/")
	for _, line := range ifNoneMatch {
		for each := range strings.SplitSeq(line, ",") { // ours has no comma
			each = strings.Trim(each, " \t")
			if each == "*" || strings.TrimPrefix(each, "W/") == opaque {
				return true
			}
		}
	}
	return false
}
