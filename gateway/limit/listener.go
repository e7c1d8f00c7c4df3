// Package limit keeps clients from taking more than their share: connections, header and body
// bytes, and time.
package limit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Listener holds the number of open connections to a limit, and makes the errors that net/http
// writes on its own account (a malformed request, headers too large) speak as the API does.
type Listener struct {
	net.Listener // of TCP
	slots        chan struct{}
	closed       chan struct{}
	close        func() error
	bodies       Bodies
}

// Bodies are the JSON bodies for requests that net/http refuses before a handler is asked.
type Bodies struct {
	Malformed       []byte // 400, and whatever else has no body of its own
	HeadersTooLarge []byte // 431
}

// Listen listens on a TCP address, with at most connectionsMax open connections; more wait in the
// kernel's queue.
func Listen(address string, connectionsMax int, bodies Bodies) (*Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // nothing here needs it, and its sockets take no filter
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	closed := make(chan struct{})
	return &Listener{
		Listener: l, slots: make(chan struct{}, connectionsMax), closed: closed, bodies: bodies,
		close: sync.OnceValue(func() error { close(closed); return l.Close() }),
	}, nil
}

// Accept waits for a free slot, then for a connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &conn{Conn: c, bodies: &l.bodies, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Open counts the connections that are open, and the one that Accept is waiting for.
func (l *Listener) Open() int { return len(l.slots) }

// Close stops the listener; connections stay open. Those that still wait to be accepted are reset.
func (l *Listener) Close() error { return l.close() }

// handshakeTime is what a handshake that has begun may still take: a client near by, or a load
// balancer, and a busy machine.
const handshakeTime = 20 * time.Millisecond

// noFurther is a socket filter that drops the packets which ask for a connection. Those that
// complete one, and all others, pass.
var noFurther = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13}, // the TCP header's flags
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: tcpSYN | tcpACK},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: tcpSYN, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
}

const tcpSYN, tcpACK = 0x02, 0x10

// Quiesce lets no further connection begin and waits until those that have begun are accepted, so
// that Close resets none: their clients may have sent a request already. Who asks meanwhile is
// refused when his kernel asks again, after Close. A shorter backlog would not do: it lets one in at
// any time, and leaves clients connected that are not in the queue. Blocks until stop is done, at most.
func (l *Listener) Quiesce(stop context.Context) {
	file, err := l.Listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = file.Control(func(fd uintptr) { // where the kernel has no filters, the queue is emptied all the same
		_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(noFurther)), Filter: &noFurther[0]})
	})
	for last := time.Now(); stop.Err() == nil; time.Sleep(time.Millisecond) {
		looked := time.Now()
		waiting := 0
		_ = file.Control(func(fd uintptr) {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			waiting, _ = unix.Poll(poll, 0) // interrupted: as if nobody waited, just then
		})
		switch {
		case waiting > 0:
			last = time.Now()
		case looked.Sub(last) >= handshakeTime:
			return
		}
	}
}

type conn struct {
	net.Conn
	bodies  *Bodies
	release func()
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// What net/http writes for requests that reach no handler is one Write of a status line, these
// headers and a line of text. No answer of a handler can look like it: they are JSON, in which a
// line break is always escaped.
var (
	statusLineStart = []byte("HTTP/1.1 ")
	plainHeaders    = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")
)

func (c *conn) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(b, statusLineStart) {
		return c.Conn.Write(b)
	}
	line, _, ok := bytes.Cut(b, plainHeaders)
	if !ok || bytes.Contains(line, []byte("\r\n")) {
		return c.Conn.Write(b)
	}
	status, body := http.StatusBadRequest, c.bodies.Malformed
	if bytes.HasPrefix(line, []byte("HTTP/1.1 431")) {
		status, body = http.StatusRequestHeaderFieldsTooLarge, c.bodies.HeadersTooLarge
	}
	_, err := fmt.Fprintf(c.Conn, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// A client that is told no in the middle of sending reads that answer only if what it still sends
// is taken off the connection: closing at once would reset it. These bound that courtesy.
const (
	lingerBytesMax = 4 << 20
	lingerTime     = 500 * time.Millisecond
)

// CloseWrite is what net/http calls before it closes a connection on which there is more to read.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	err := half.CloseWrite()
	if err == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytesMax) // ends by the deadline, if not before
	}
	return err
}
