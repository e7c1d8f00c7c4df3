package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const (
	// An answer of the contract is far smaller; more than this is not one.
	maxAnswerBytes = 64 << 10
	readBytes      = 8 << 10
)

var errNotHTTP = errors.New("an answer that is not HTTP/1.1 with a Content-Length")

// An Answer is what came back. Its body is good until the connection's next exchange.
type Answer struct {
	Status int
	Body   []byte
}

// A Connection speaks as much HTTP/1.1 as a load client needs: whole requests one after the other on one
// kept connection, answers with a Content-Length. net/http's client costs more than the server that is
// measured, and runs on the same cores. Not thread-safe.
type Connection struct {
	address string
	timeout time.Duration
	conn    net.Conn
	reader  *bufio.Reader
	body    []byte
	expires time.Time
}

// Dial connects.
func Dial(address string, timeout time.Duration) (*Connection, error) {
	c := &Connection{address: address, timeout: timeout, reader: bufio.NewReaderSize(nil, readBytes)}
	return c, c.redial()
}

func (c *Connection) redial() error {
	c.Close()
	conn, err := net.DialTimeout("tcp", c.address, c.timeout)
	if err != nil {
		return err
	}
	c.conn, c.expires = conn, time.Time{}
	c.reader.Reset(conn)
	return nil
}

// Close lets go of the connection.
func (c *Connection) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// Exchange sends a whole request and reads the whole answer. After an error the next exchange connects anew.
func (c *Connection) Exchange(request []byte, now time.Time) (Answer, error) {
	if c.conn == nil {
		if err := c.redial(); err != nil {
			return Answer{}, err
		}
	}
	answer, err := c.exchange(request, now)
	if err != nil {
		c.Close()
	}
	return answer, err
}

func (c *Connection) exchange(request []byte, now time.Time) (Answer, error) {
	// A deadline costs a timer: so one serves for half of the timeout.
	if c.expires.Sub(now) < c.timeout {
		c.expires = now.Add(c.timeout + c.timeout/2)
		if err := c.conn.SetDeadline(c.expires); err != nil {
			return Answer{}, err
		}
	}
	if _, err := c.conn.Write(request); err != nil {
		return Answer{}, err
	}
	return c.read()
}

func (c *Connection) read() (Answer, error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return Answer{}, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return Answer{}, errNotHTTP
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return Answer{}, errNotHTTP
	}
	length, closes, err := c.readHeader()
	if err != nil {
		return Answer{}, err
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	body := c.body[:length]
	if _, err := io.ReadFull(c.reader, body); err != nil {
		return Answer{}, err
	}
	if closes {
		c.Close()
	}
	return Answer{status, body}, nil
}

func (c *Connection) readHeader() (length int, closes bool, err error) {
	length = -1
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			return 0, false, errNotHTTP
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxAnswerBytes {
				return 0, false, fmt.Errorf("%w: Content-Length %q", errNotHTTP, value)
			}
		case bytes.EqualFold(name, []byte("Connection")):
			closes = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return 0, false, errNotHTTP
	}
	return length, closes, nil
}
