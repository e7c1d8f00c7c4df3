package rest

import (
	"net/http"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A problem is one answer that is no success: the whole of what a caller gets to see of an error.
type problem struct {
	code       string
	status     int
	message    string
	retryAfter bool

	body   []byte
	length []string // the value of Content-Length
}

var (
	soldOut       = newProblem("CP101", http.StatusBadRequest, "쿠폰 수량이 소진되었습니다.", false)
	alreadyIssued = newProblem("CP102", http.StatusConflict, "이미 발급된 쿠폰입니다.", false)
	noCoupon      = newProblem("CP103", http.StatusNotFound, "존재하지 않는 쿠폰입니다.", false)
	noIssue       = newProblem("CP104", http.StatusNotFound, "쿠폰 발급 요청을 찾을 수 없습니다.", false)
	notOpen       = newProblem("CP105", http.StatusBadRequest, "쿠폰 발급 기간이 아닙니다.", false)
	noProduct     = newProblem("PD101", http.StatusNotFound, "상품을 찾을 수 없습니다.", false)

	badRequest       = newProblem("CM400", http.StatusBadRequest, "잘못된 요청입니다.", false)
	unauthenticated  = newProblem("CM401", http.StatusUnauthorized, "인증이 필요합니다.", false)
	forbidden        = newProblem("CM403", http.StatusForbidden, "접근 권한이 없습니다.", false)
	noRoute          = newProblem("CM404", http.StatusNotFound, "요청하신 경로를 찾을 수 없습니다.", false)
	methodNotAllowed = newProblem("CM405", http.StatusMethodNotAllowed, "허용되지 않은 메서드입니다.", false)
	bodyTooLarge     = newProblem("CM413", http.StatusRequestEntityTooLarge, "요청 본문이 너무 큽니다.", false)
	headersTooLarge  = newProblem("CM431", http.StatusRequestHeaderFieldsTooLarge, "요청 헤더가 너무 큽니다.", false)
	tooMany          = newProblem("CM429", http.StatusTooManyRequests, "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요.", true)
	internalError    = newProblem("CM500", http.StatusInternalServerError, "서버 오류가 발생했습니다.", false)
	unavailable      = newProblem("CM503", http.StatusServiceUnavailable, "일시적으로 서비스를 이용할 수 없습니다.", true)
	deadlinePassed   = newProblem("CM504", http.StatusGatewayTimeout, "요청 시간이 초과되었습니다.", false)
)

// byErrorCode has the problems that the server may name in ErrorInfo.
var byErrorCode = func() map[string]*problem {
	m := map[string]*problem{}
	for _, p := range []*problem{
		soldOut, alreadyIssued, noCoupon, noIssue, notOpen, noProduct, badRequest, unauthenticated,
		forbidden, tooMany, internalError, unavailable, deadlinePassed,
	} {
		m[p.code] = p
	}
	return m
}()

// byGRPCCode answers for errors without an ErrorInfo of ours. What is not here is our own bug.
var byGRPCCode = map[codes.Code]*problem{
	codes.InvalidArgument:   badRequest,
	codes.OutOfRange:        badRequest,
	codes.Unauthenticated:   unauthenticated,
	codes.PermissionDenied:  forbidden,
	codes.ResourceExhausted: tooMany,
	codes.Unavailable:       unavailable,
	codes.DeadlineExceeded:  deadlinePassed,
	codes.Canceled:          deadlinePassed, // given up half-way: the outcome is unknown
}

func newProblem(code string, httpStatus int, message string, retryAfter bool) *problem {
	body := appendString([]byte(`{"code":`), code)
	body = appendString(append(body, `,"message":`...), message)
	body = append(body, '}')
	return &problem{code, httpStatus, message, retryAfter, body, []string{strconv.Itoa(len(body))}}
}

// problemOf finds the answer for an error of a call: by the contract's code that the server put
// into ErrorInfo, else by the gRPC code. Nothing else of the error is ever shown.
func problemOf(err error) *problem {
	s, ok := status.FromError(err)
	if !ok {
		return internalError
	}
	for _, detail := range s.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != "ecom" {
			continue
		}
		if p, ok := byErrorCode[info.GetMetadata()["code"]]; ok {
			return p
		}
	}
	if p, ok := byGRPCCode[s.Code()]; ok {
		return p
	}
	return internalError
}

var (
	jsonContentType = []string{"application/json"}
	retrySoon       = []string{"1"}
)

func (p *problem) write(w http.ResponseWriter) {
	header := w.Header()
	header["Content-Type"] = jsonContentType
	header["Content-Length"] = p.length
	delete(header, "Etag") // of the product that could not be written after all
	delete(header, "Cache-Control")
	if p.retryAfter {
		header["Retry-After"] = retrySoon
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body) // the client is gone: nobody is left to tell
}

// MalformedRequest is the body of a 400 for what is no HTTP request, and so reaches no handler.
func MalformedRequest() []byte { return badRequest.body }

// HeadersTooLarge is the body of a 431, which reaches no handler either.
func HeadersTooLarge() []byte { return headersTooLarge.body }
