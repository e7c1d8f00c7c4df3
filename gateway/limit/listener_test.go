package limit

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const patience = 20 * time.Second

var testBodies = Bodies{Malformed: []byte(`{"bad":1}`), HeadersTooLarge: []byte(`{"large":1}`)}

func listen(t *testing.T, connectionsMax int) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", connectionsMax, testBodies)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func pair(t *testing.T, l *Listener) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestOnlyErrorsOfTheHTTPServerItselfAreReworded(t *testing.T) {
	plain := "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
	answer := func(status, body string) string {
		return "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " +
			map[string]string{`{"bad":1}`: "9", `{"large":1}`: "11"}[body] + "\r\nConnection: close\r\n\r\n" + body
	}
	for _, c := range []struct{ name, written, want string }{
		{"headers too large", "HTTP/1.1 431 Request Header Fields Too Large" + plain + "431 Request Header Fields Too Large", answer("431 Request Header Fields Too Large", `{"large":1}`)},
		{"malformed", "HTTP/1.1 400 Bad Request: missing required Host header" + plain + "400", answer("400 Bad Request", `{"bad":1}`)},
		{"unsupported", "HTTP/1.1 501 Not Implemented" + plain + "Unsupported transfer encoding", answer("400 Bad Request", `{"bad":1}`)},
		{"a handler's answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
		{"a part of a body", `HTTP/1.1 400\r\nContent-Type: text/plain`, `HTTP/1.1 400\r\nContent-Type: text/plain`},
		{"an answer with other headers before", "HTTP/1.1 400 Bad Request\r\nX: y" + plain, "HTTP/1.1 400 Bad Request\r\nX: y" + plain},
		{"an empty write", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := pair(t, listen(t, 1))
			n, err := io.WriteString(server, c.written)
			if n != len(c.written) || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
			server.Close()
			got, err := io.ReadAll(client)
			if err != nil || string(got) != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestAClosedConnectionFreesItsSlotOnce(t *testing.T) {
	l := listen(t, 2)
	_, first := pair(t, l)
	pair(t, l)
	if l.Open() != 2 {
		t.Errorf("%d open", l.Open())
	}
	first.Close()
	first.Close()
	if l.Open() != 1 {
		t.Errorf("%d open", l.Open())
	}
}

func TestClosingWakesAnAcceptThatWaitsForASlot(t *testing.T) {
	l := listen(t, 1)
	pair(t, l)
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	l.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("still waiting")
	}
}

func TestAClientInTheMiddleOfSendingReadsWhyItIsCut(t *testing.T) {
	client, server := pair(t, listen(t, 1))
	done := make(chan error, 1)
	go func() {
		_, err := io.WriteString(server, "no")
		done <- errors.Join(err, server.(interface{ CloseWrite() error }).CloseWrite(), server.Close())
	}()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(client, strings.Repeat("x", 1<<20))
		sent <- errors.Join(err, client.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(client)
	if err != nil || string(got) != "no" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := errors.Join(<-done, <-sent); err != nil {
		t.Error(err)
	}
}

func TestQuiescingWaitsUntilWhoeverIsConnectedIsAcceptedAndLetsNobodyFurtherIn(t *testing.T) {
	l := listen(t, 10)
	connect := func() bool {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 5*handshakeTime/2)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err == nil
	}
	connected := 0
	for range 3 {
		if connect() {
			connected++
		}
	}
	accepted := make(chan int, 1)
	go func() {
		for connect() { // until Quiesce is on, which waits longer for us than for a handshake
			connected++
		}
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				accepted <- n
				return
			}
			c.Close()
		}
	}()
	l.Quiesce(t.Context())
	if connect() {
		t.Error("one more was let in")
	}
	l.Close()
	if n := <-accepted; n != connected || n < 3 {
		t.Errorf("%d of %d were accepted", n, connected)
	}
}

func TestQuiescingEndsWhenItIsToldTo(t *testing.T) {
	l := listen(t, 1)
	if _, err := net.Dial("tcp", l.Addr().String()); err != nil { // and nobody accepts
		t.Fatal(err)
	}
	stop, cancel := context.WithTimeout(t.Context(), 3*handshakeTime)
	defer cancel()
	l.Quiesce(stop)
	if stop.Err() == nil {
		t.Error("it did not wait for the one who is connected")
	}
}

func TestEveryLimitOfTheServerIsSet(t *testing.T) {
	s := NewServer(http.NotFoundHandler(), Times{Header: time.Second, Work: 3 * time.Second}, slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout != time.Second || s.ReadTimeout <= s.ReadHeaderTimeout || s.WriteTimeout <= s.ReadTimeout+3*time.Second ||
		s.IdleTimeout <= 0 || s.MaxHeaderBytes != 12<<10 || !s.Protocols.HTTP1() || s.Protocols.HTTP2() || s.Protocols.UnencryptedHTTP2() {
		t.Errorf("got %+v", s)
	}
}
