package rest

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
)

func seoul(t testing.TB) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Asia/Seoul")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestAProductLooksAsTheContractSays(t *testing.T) {
	at := func(seconds int64, nanos int32) *timestamppb.Timestamp {
		return &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
	}
	for _, c := range []struct {
		name    string
		product *productv1.Product
		want    string
	}{
		{"zeros", &productv1.Product{CreatedAt: at(0, 0), UpdatedAt: at(-1, 999_999_999)},
			`{"id":0,"name":"","price":0.00,"stockQuantity":0,"isActive":false,"viewCount":0,"createdAt":"1970-01-01T09:00:00","updatedAt":"1970-01-01T08:59:59"}`},
		{"the extremes", &productv1.Product{Id: 9223372036854775807, PriceMinor: 999_999_999_999, StockQuantity: -1, IsActive: true, ViewCount: 9223372036854775807, CreatedAt: at(-62135596800, 0), UpdatedAt: at(253402300799-9*3600, 999_999_999)},
			`{"id":9223372036854775807,"name":"","price":9999999999.99,"stockQuantity":-1,"isActive":true,"viewCount":9223372036854775807,"createdAt":"0001-01-01T08:27:52","updatedAt":"9999-12-31T23:59:59"}`},
		{"a name that needs escapes", &productv1.Product{Name: "<b>\"a\\b\" & 'c'/\u2028\u2029\x00\x1f\x7f\b\f\n\r\t😀", CreatedAt: at(0, 0), UpdatedAt: at(0, 0)},
			`{"id":0,"name":"<b>\"a\\b\" & 'c'/` + "\u2028\u2029" + `\u0000\u001f` + "\x7f" + `\b\f\n\r\t😀","price":0.00,"stockQuantity":0,"isActive":false,"viewCount":0,"createdAt":"1970-01-01T09:00:00","updatedAt":"1970-01-01T09:00:00"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := contractJSON{seoul(t)}.Marshal(c.product)
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestMoneyAlwaysHasTwoDecimals(t *testing.T) {
	for minor, want := range map[int64]string{
		0: "0.00", 1: "0.01", 10: "0.10", 99: "0.99", 100: "1.00", 1010000: "10100.00", -1: "-0.01", -100: "-1.00",
		9223372036854775807: "92233720368547758.07", -9223372036854775808: "-92233720368547758.08",
	} {
		if got := string(appendMoney(nil, minor)); got != want {
			t.Errorf("%d: got %s, want %s", minor, got, want)
		}
	}
}

func TestAnAnswerThatBreaksThePromisesOfTheProtoHasNoForm(t *testing.T) {
	now := timestamppb.Now()
	for name, message := range map[string]any{
		"no product":               (*productv1.Product)(nil),
		"no creation time":         &productv1.Product{UpdatedAt: now},
		"no update time":           &productv1.Product{CreatedAt: now},
		"an impossible time":       &productv1.Product{CreatedAt: now, UpdatedAt: &timestamppb.Timestamp{Nanos: -1}},
		"a list with a hole":       &productv1.ListProductsResponse{Products: []*productv1.Product{nil}},
		"a claim without a status": &couponv1.IssueCouponResponse{},
		"a claim issued at once":   &couponv1.IssueCouponResponse{Status: couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_ISSUED},
		"an unknown status":        &couponv1.GetCouponIssueResponse{Status: 9},
		"issued at no time":        &couponv1.GetCouponIssueResponse{Status: couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_ISSUED},
		"another message":          now,
	} {
		if got, err := (contractJSON{time.UTC}).Marshal(message); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// reference encodes with the standard library. What it escapes beyond JSON's needs is undone: each
// of these escapes is behind an even number of backslashes, which the scan keeps track of.
func reference(t testing.TB, v any) string {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	in := strings.TrimSuffix(out.String(), "\n")
	var plain strings.Builder
	for i := 0; i < len(in); i++ {
		switch {
		case in[i] != '\\':
			plain.WriteByte(in[i])
			continue
		case strings.HasPrefix(in[i:], `\u2028`):
			plain.WriteString("\u2028")
		case strings.HasPrefix(in[i:], `\u2029`):
			plain.WriteString("\u2029")
		case strings.HasPrefix(in[i:], `\ufffd`):
			plain.WriteString("\uFFFD")
		default:
			plain.WriteString(in[i : i+2])
			i++
			continue
		}
		i += len(`\u2028`) - 1
	}
	return plain.String()
}

func referenceProduct(p *productv1.Product, zone *time.Location) any {
	local := func(t *timestamppb.Timestamp) string {
		return t.AsTime().In(zone).Format(timeLayout)
	}
	return struct {
		ID            int64           `json:"id"`
		Name          string          `json:"name"`
		Price         json.RawMessage `json:"price"`
		StockQuantity int64           `json:"stockQuantity"`
		IsActive      bool            `json:"isActive"`
		ViewCount     int64           `json:"viewCount"`
		CreatedAt     string          `json:"createdAt"`
		UpdatedAt     string          `json:"updatedAt"`
	}{
		p.GetId(), p.GetName(), json.RawMessage(big.NewRat(p.GetPriceMinor(), 100).FloatString(2)), p.GetStockQuantity(),
		p.GetIsActive(), p.GetViewCount(), local(p.GetCreatedAt()), local(p.GetUpdatedAt()),
	}
}

func FuzzProductsMatchTheStandardEncoder(f *testing.F) {
	f.Add(int64(1), "부하테스트상품_1", int64(1010000), int64(1000), true, int64(1766653343), int32(987654000), "bmV4dA")
	f.Add(int64(-1), "\x00\x1f\"\\/<>&\u2028\u2029\xff\xc3\\u2028\\", int64(-5), int64(0), false, int64(-1), int32(1), "")
	f.Add(int64(9223372036854775807), "\xed\xa0\x80\xf0\x9f\x98", int64(-9223372036854775808), int64(-7), true, int64(253402300799), int32(0), "a\"b")
	zone := seoul(f)
	f.Fuzz(func(t *testing.T, id int64, name string, price, count int64, active bool, seconds int64, nanos int32, cursor string) {
		when := &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
		p := &productv1.Product{
			Id: id, Name: name, PriceMinor: price, StockQuantity: count, IsActive: active, ViewCount: count,
			CreatedAt: when, UpdatedAt: when,
		}
		got, err := contractJSON{zone}.Marshal(&productv1.ListProductsResponse{Products: []*productv1.Product{p, p}, NextCursor: cursor})
		if !when.IsValid() {
			if err == nil {
				t.Fatalf("a time that is none was written: %s", got)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		want := reference(t, struct {
			Items      []any  `json:"items"`
			NextCursor string `json:"nextCursor,omitempty"`
		}{[]any{referenceProduct(p, zone), referenceProduct(p, zone)}, cursor})
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func FuzzStringsMatchTheStandardEncoderAndComeBack(f *testing.F) {
	for _, s := range []string{"", "plain", "한글", "\\u2028", "\\\u2028", "\"\\\b\f\n\r\t\x01", "\xff", "a\xe2\x80", "\uFFFD"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := appendString([]byte("x"), s)[1:]
		if want := reference(t, s); string(got) != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		if utf8.ValidString(s) && back != s {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}

func BenchmarkMarshalProduct(b *testing.B) {
	p := &productv1.Product{
		Id: 1, Name: "부하테스트상품_1", PriceMinor: 1010000, StockQuantity: 1000, IsActive: true, ViewCount: 42,
		CreatedAt: &timestamppb.Timestamp{Seconds: 1766653343}, UpdatedAt: &timestamppb.Timestamp{Seconds: 1766653343},
	}
	j := contractJSON{seoul(b)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := j.Marshal(p); err != nil {
			b.Fatal(err)
		}
	}
}
