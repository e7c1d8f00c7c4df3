package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// An Outcome is how a request ended. A refusal is a correct answer, and a cheaper one than an acceptance.
type Outcome int

// The outcomes, in the order of outcomeNames.
const (
	Accepted Outcome = iota
	SoldOut
	Duplicate
	Error
	outcomes
)

var outcomeNames = [outcomes]string{"accepted", "sold_out", "duplicate", "error"}

// A Verdict is an outcome and what exactly came back.
type Verdict struct {
	Outcome Outcome
	Code    string
}

// A Kind makes requests and judges their answers, for one connection. Not thread-safe.
type Kind interface {
	// Next is the i-th request of the run. The bytes are good until the next call.
	Next(i int64) []byte
	// Judge says what the answer to the last request means.
	Judge(answer Answer) Verdict
}

// KindOptions are what the kinds need to know.
type KindOptions struct {
	Host     string
	CouponID int64
	UserBase int64
	// Users is how many users take turns; 0: every request is of another one.
	Users int64
	Seed  uint64
}

// NewKind returns the kind of that name for one connection.
func NewKind(name string, options KindOptions, connection uint64) (Kind, error) {
	switch name {
	case "fixed":
		return &get{requests: [][]byte{getRequest(options.Host, 1)}, pick: func() int64 { return 1 }}, nil
	case "get-product":
		return newGetProduct(options, connection), nil
	case "issue-coupon":
		return &issue{options: options}, nil
	}
	return nil, fmt.Errorf("there is no method %q: fixed, get-product or issue-coupon", name)
}

func getRequest(host string, id int64) []byte {
	return fmt.Appendf(nil, "GET /products/%d HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n\r\n", id, host)
}

// get reads one of products 1, 2, …
type get struct {
	requests [][]byte
	pick     func() int64
	id       int64
	want     []byte
}

// 80 % of the reads go to 20 of the 100 sample products.
func newGetProduct(options KindOptions, connection uint64) *get {
	random := rand.New(rand.NewPCG(options.Seed, connection))
	g := &get{pick: func() int64 {
		if random.IntN(10) < 8 {
			return int64(1 + random.IntN(20))
		}
		return int64(21 + random.IntN(80))
	}}
	for id := int64(1); id <= 100; id++ {
		g.requests = append(g.requests, getRequest(options.Host, id))
	}
	return g
}

func (g *get) Next(int64) []byte {
	g.id = g.pick()
	return g.requests[g.id-1]
}

func (g *get) Judge(answer Answer) Verdict {
	if answer.Status != 200 {
		return refusal(answer)
	}
	g.want = append(strconv.AppendInt(append(g.want[:0], `"id":`...), g.id, 10), ',')
	if !bytes.Contains(answer.Body, g.want) || !bytes.Contains(answer.Body, []byte(`"name":"`)) {
		return Verdict{Error, "200 with another product"}
	}
	return Verdict{Accepted, "200"}
}

// issue asks for one unit of a coupon.
type issue struct {
	options KindOptions
	user    int64
	request []byte
	want    []byte
}

func (s *issue) Next(i int64) []byte {
	if s.options.Users > 0 {
		i %= s.options.Users
	}
	s.user = s.options.UserBase + i
	r := append(s.request[:0], "POST /coupons/"...)
	r = strconv.AppendInt(r, s.options.CouponID, 10)
	r = append(r, "/issue HTTP/1.1\r\nHost: "...)
	r = append(r, s.options.Host...)
	r = append(r, "\r\nuserId: "...)
	r = strconv.AppendInt(r, s.user, 10)
	s.request = append(r, "\r\nContent-Length: 0\r\n\r\n"...)
	return s.request
}

func (s *issue) Judge(answer Answer) Verdict {
	if answer.Status != 200 {
		return refusal(answer)
	}
	s.want = append(strconv.AppendInt(append(s.want[:0], `"userId":`...), s.user, 10), ',')
	if !bytes.Contains(answer.Body, s.want) || !bytes.Contains(answer.Body, []byte(`"status":"QUEUED"`)) {
		return Verdict{Error, "200 that promises something else"}
	}
	return Verdict{Accepted, "200 QUEUED"}
}

// refusal names an answer other than 200 by its status and the contract's code.
func refusal(answer Answer) Verdict {
	code := strconv.Itoa(answer.Status)
	if _, after, found := bytes.Cut(answer.Body, []byte(`"code":"`)); found {
		if name, _, found := bytes.Cut(after, []byte(`"`)); found {
			code += " " + string(name)
		}
	}
	switch code {
	case "400 CP101":
		return Verdict{SoldOut, code}
	case "409 CP102":
		return Verdict{Duplicate, code}
	}
	return Verdict{Error, code}
}

// failure names what kept an answer away.
func failure(err error) Verdict {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return Verdict{Error, "timeout"}
	}
	if errors.Is(err, errNotHTTP) {
		return Verdict{Error, "broken answer"}
	}
	return Verdict{Error, "no answer"}
}
