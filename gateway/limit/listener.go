// Package limit keeps clients from taking more than their share: connections, header and body
// bytes, and time.
package limit

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Listener holds the number of open connections to a limit, and makes the errors that net/http
// writes on its own account (a malformed request, headers too large) speak as the API does.
type Listener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	close  func() error
	bodies Bodies
}

// Bodies are the JSON bodies for requests that net/http refuses before a handler is asked.
type Bodies struct {
	Malformed       []byte // 400, and whatever else has no body of its own
	HeadersTooLarge []byte // 431
}

// Wrap limits l to connectionsMax open connections; more wait in the kernel's queue.
func Wrap(l net.Listener, connectionsMax int, bodies Bodies) *Listener {
	closed := make(chan struct{})
	return &Listener{
		Listener: l, slots: make(chan struct{}, connectionsMax), closed: closed, bodies: bodies,
		close: sync.OnceValue(func() error { close(closed); return l.Close() }),
	}
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

// quiesceTime is ample for a queue that is being accepted from, and no time in a stop.
const quiesceTime = 200 * time.Millisecond

// Quiesce lets no further connection into the kernel's queue and waits until those in it are
// accepted, so that Close resets none. Blocks for at most quiesceTime. Does nothing for a listener
// without a file descriptor.
func (l *Listener) Quiesce() {
	socket, ok := l.Listener.(syscall.Conn)
	if !ok {
		return
	}
	file, err := socket.SyscallConn()
	if err != nil {
		return
	}
	for deadline := time.Now().Add(quiesceTime); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		waiting := false
		_ = file.Control(func(fd uintptr) {
			if unix.Listen(int(fd), 0) != nil {
				return
			}
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, 0)
			waiting = err == nil && n > 0
		})
		if !waiting {
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
