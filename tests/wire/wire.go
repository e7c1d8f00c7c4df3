// Package wire is an HTTP/1.1 client that sends the bytes it is given and repeats nothing on its
// own, so that its caller knows what became of each request. (net/http refuses to send malformed
// requests, and sends again those that carry an Idempotency-Key when a connection breaks.)
package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// ErrNotSent marks the failures of which the server cannot know: nobody read the request.
var ErrNotSent = errors.New("not sent")

// bodyBytesMax bounds an answer; the largest real one, a page of 100 products, has about 30 kB.
const bodyBytesMax = 4 << 20

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Client holds one keep-alive connection to one address. Not thread-safe.
type Client struct {
	addr    string
	timeout time.Duration
	conn    net.Conn
	reader  *bufio.Reader
}

// NewClient makes a client that connects when it is first used. The timeout bounds one whole Do.
func NewClient(addr string, timeout time.Duration) *Client {
	return &Client{addr: addr, timeout: timeout}
}

// Close closes the connection, if there is one. The client stays usable.
func (c *Client) Close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is left to be sent
		c.conn = nil
	}
}

// Do sends the bytes of one request and reads its answer; the method only tells whether a body
// follows. An error that is not ErrNotSent leaves the outcome unknown, and the connection closed.
func (c *Client) Do(method string, request []byte) (*Response, error) {
	deadline := time.Now().Add(c.timeout)
	if c.conn != nil && !idle(c.conn) {
		c.Close()
	}
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addr, c.timeout)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
		}
		c.conn, c.reader = conn, bufio.NewReaderSize(conn, 8192)
	}
	response, err := c.exchange(method, request, deadline)
	if err != nil {
		c.Close()
	}
	return response, err
}

func (c *Client) exchange(method string, request []byte, deadline time.Time) (*Response, error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	// A server may answer, and close, before it has read all: the answer counts, not the broken pipe.
	_, sendErr := c.conn.Write(request)
	answer, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return nil, errors.Join(sendErr, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, bodyBytesMax))
	if err != nil {
		return nil, err
	}
	if answer.Close || sendErr != nil {
		c.Close()
	}
	return &Response{Status: answer.StatusCode, Header: answer.Header, Body: body}, nil
}

// idle tells whether the connection still stands and has nothing to say, without waiting.
func idle(conn net.Conn) bool {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
	})
	return err == nil && quiet
}

// Request builds a request's bytes. Header lines ("Name: value") go out as they are given.
func Request(method, path string, headers []string, body string) []byte {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path)
	for _, header := range headers {
		text.WriteString(header)
		text.WriteString("\r\n")
	}
	if body != "" || method == http.MethodPost {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
	}
	text.WriteString("\r\n")
	text.WriteString(body)
	return []byte(text.String())
}
