package rest

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/types/known/timestamppb"

	couponv1 "ecom/gateway/gen/ecom/coupon/v1"
	productv1 "ecom/gateway/gen/ecom/product/v1"
)

const timeLayout = "2006-01-02T15:04:05"

// contractJSON writes the answers of the contract, to the byte, and reads nothing: no request has a
// body. It knows the answers' messages and refuses others. Thread-safe; one allocation an answer.
type contractJSON struct{ zone *time.Location }

var _ runtime.Marshaler = contractJSON{}

var errNoRequestBodies = errors.New("no request of this API has a body")

func (contractJSON) ContentType(any) string                   { return "application/json" }
func (contractJSON) Unmarshal([]byte, any) error              { return errNoRequestBodies }
func (j contractJSON) NewEncoder(w io.Writer) runtime.Encoder { return jsonEncoder{j, w} }
func (contractJSON) NewDecoder(io.Reader) runtime.Decoder     { return runtime.DecoderFunc(refuse) }
func refuse(any) error                                        { return errNoRequestBodies }

type jsonEncoder struct {
	json contractJSON
	out  io.Writer
}

func (e jsonEncoder) Encode(v any) error {
	text, err := e.json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = e.out.Write(text)
	return err
}

// Room for an answer without its strings, so that an answer is one allocation.
const (
	issueBytes   = 192
	productBytes = 256
)

// Marshal fails for a message that breaks a promise of the proto, such as a product without times.
func (j contractJSON) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case *couponv1.IssueCouponResponse:
		return j.appendIssueCoupon(make([]byte, 0, issueBytes+len(m.GetRequestId())), m)
	case *couponv1.GetCouponIssueResponse:
		return j.appendCouponIssue(make([]byte, 0, issueBytes+len(m.GetRequestId())), m)
	case *productv1.Product:
		return j.appendProduct(make([]byte, 0, productBytes+len(m.GetName())), m)
	case *productv1.ListProductsResponse:
		return j.appendProducts(m.GetProducts(), m.GetNextCursor())
	case *productv1.ListPopularProductsResponse:
		return j.appendProducts(m.GetProducts(), "")
	default:
		return nil, fmt.Errorf("no JSON form for %T", v)
	}
}

func (contractJSON) appendIssueCoupon(b []byte, m *couponv1.IssueCouponResponse) ([]byte, error) {
	if m.GetStatus() != couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_QUEUED {
		return nil, fmt.Errorf("an accepted claim with status %v", m.GetStatus())
	}
	b = appendClaim(b, m.GetUserId(), m.GetCouponId(), m.GetRequestId(), "QUEUED")
	return append(b, `,"message":"쿠폰 발급 요청이 접수되었습니다."}`...), nil
}

func (j contractJSON) appendCouponIssue(b []byte, m *couponv1.GetCouponIssueResponse) ([]byte, error) {
	var status string
	switch m.GetStatus() {
	case couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_QUEUED:
		status = "QUEUED"
	case couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_ISSUED:
		status = "ISSUED"
	case couponv1.CouponIssueStatus_COUPON_ISSUE_STATUS_REJECTED:
		status = "REJECTED"
	default:
		return nil, fmt.Errorf("a claim with status %v", m.GetStatus())
	}
	b = appendClaim(b, m.GetUserId(), m.GetCouponId(), m.GetRequestId(), status)
	if status == "ISSUED" {
		var err error
		if b, err = j.appendTime(append(b, `,"issuedAt":`...), m.GetIssuedAt()); err != nil {
			return nil, fmt.Errorf("issued_at: %w", err)
		}
	}
	return append(b, '}'), nil
}

func appendClaim(b []byte, userID, couponID int64, requestID, status string) []byte {
	b = strconv.AppendInt(append(b, `{"userId":`...), userID, 10)
	b = strconv.AppendInt(append(b, `,"couponId":`...), couponID, 10)
	b = appendString(append(b, `,"requestId":`...), requestID)
	return appendString(append(b, `,"status":`...), status)
}

func (j contractJSON) appendProducts(products []*productv1.Product, nextCursor string) ([]byte, error) {
	room := len(`{"items":[],"nextCursor":""}`) + len(nextCursor)
	for _, p := range products {
		room += productBytes + len(p.GetName())
	}
	b := append(make([]byte, 0, room), `{"items":[`...)
	for i, p := range products {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = j.appendProduct(b, p); err != nil {
			return nil, err
		}
	}
	b = append(b, ']')
	if nextCursor != "" {
		b = appendString(append(b, `,"nextCursor":`...), nextCursor)
	}
	return append(b, '}'), nil
}

func (j contractJSON) appendProduct(b []byte, p *productv1.Product) ([]byte, error) {
	if p == nil {
		return nil, errors.New("an answer without its product")
	}
	b = strconv.AppendInt(append(b, `{"id":`...), p.GetId(), 10)
	b = appendString(append(b, `,"name":`...), p.GetName())
	b = appendMoney(append(b, `,"price":`...), p.GetPriceMinor())
	b = strconv.AppendInt(append(b, `,"stockQuantity":`...), p.GetStockQuantity(), 10)
	b = strconv.AppendBool(append(b, `,"isActive":`...), p.GetIsActive())
	b = strconv.AppendInt(append(b, `,"viewCount":`...), p.GetViewCount(), 10)
	var err error
	if b, err = j.appendTime(append(b, `,"createdAt":`...), p.GetCreatedAt()); err != nil {
		return nil, fmt.Errorf("created_at: %w", err)
	}
	if b, err = j.appendTime(append(b, `,"updatedAt":`...), p.GetUpdatedAt()); err != nil {
		return nil, fmt.Errorf("updated_at: %w", err)
	}
	return append(b, '}'), nil
}

// appendMoney writes hundredths as a number with exactly two decimals.
func appendMoney(b []byte, minor int64) []byte {
	rest := uint64(minor)
	if minor < 0 {
		b, rest = append(b, '-'), -rest
	}
	b = strconv.AppendUint(b, rest/100, 10)
	return append(b, '.', byte('0'+rest/10%10), byte('0'+rest%10))
}

// appendTime writes the second that the moment is in. Timestamps count their nanoseconds forward,
// before 1970 too, so leaving them out is rounding down.
func (j contractJSON) appendTime(b []byte, t *timestamppb.Timestamp) ([]byte, error) {
	if err := t.CheckValid(); err != nil {
		return nil, err
	}
	b = append(b, '"')
	b = time.Unix(t.GetSeconds(), 0).In(j.zone).AppendFormat(b, timeLayout)
	return append(b, '"'), nil
}

const hexDigits = "0123456789abcdef"

// appendString quotes s. Only what JSON forbids inside of quotes is escaped; bytes that are no UTF-8
// become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	copied := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[copied:i]...), "\uFFFD"...)
				copied = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[copied:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		copied = i
	}
	return append(append(b, s[copied:]...), '"')
}
