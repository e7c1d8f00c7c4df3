package wire

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serve accepts connections one after the other and hands each to the next of the scripts.
func serve(t *testing.T, scripts ...func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // nothing is left to be sent
	go func() {
		for _, script := range scripts {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			script(conn)
			_ = conn.Close() // the client sees what the script left
		}
	}()
	return listener.Addr().String()
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func say(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }

func readHead(conn net.Conn) string {
	reader, head := bufio.NewReader(conn), ""
	for {
		line, err := reader.ReadString('\n')
		head += line
		if err != nil || line == "\r\n" {
			return head
		}
	}
}

func TestWireSendsTheBytesItIsGiven(t *testing.T) {
	got := make(chan string, 1)
	client := NewClient(serve(t, func(conn net.Conn) { got <- readHead(conn); say(conn, ok) }), 5*time.Second)
	defer client.Close()
	headers := []string{"userId: 1", "userId: 1", "Bad\x01Name: \x7f", "Empty:"}
	response, err := client.Do(http.MethodGet, Request(http.MethodGet, "/a b", headers, ""))
	if err != nil || response.Status != 200 || string(response.Body) != "ok" {
		t.Fatalf("%+v %v", response, err)
	}
	want := "GET /a b HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
	if sent := <-got; sent != want {
		t.Fatalf("sent %q, want %q", sent, want)
	}
}

func TestWireNeverSendsARequestTwice(t *testing.T) {
	second := make(chan struct{})
	addr := serve(t,
		func(conn net.Conn) { readHead(conn); say(conn, ok); readHead(conn) }, // hangs up on the second
		func(net.Conn) { close(second) })
	client := NewClient(addr, 5*time.Second)
	defer client.Close()
	request := Request(http.MethodPost, "/", []string{"Idempotency-Key: k"}, "")
	if _, err := client.Do(http.MethodPost, request); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(http.MethodPost, request); err == nil || errors.Is(err, ErrNotSent) {
		t.Fatalf("a request that got no answer: %v", err)
	}
	select {
	case <-second:
		t.Fatal("sent it again on its own")
	default:
	}
}

func TestWireReadsAnAnswerThatComesBeforeTheRequestIsRead(t *testing.T) {
	refuse := func(conn net.Conn) {
		say(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		_ = conn.(*net.TCPConn).CloseWrite() // as a careful server does, so that the answer arrives
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, 1<<16))
	}
	client := NewClient(serve(t, refuse), 5*time.Second)
	defer client.Close()
	request := Request(http.MethodPost, "/", nil, strings.Repeat("x", 1<<16))
	if response, err := client.Do(http.MethodPost, request); err != nil || response.Status != 413 {
		t.Fatalf("%+v %v", response, err)
	}
}

func TestWireTellsWhatWasNotSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient(addr, time.Second).Do("GET", Request("GET", "/", nil, "")); !errors.Is(err, ErrNotSent) {
		t.Fatalf("%v, want %v", err, ErrNotSent)
	}
}

func TestWireBoundsTheWaitForAnAnswer(t *testing.T) {
	release := make(chan struct{})
	client := NewClient(serve(t, func(net.Conn) { <-release }), 50*time.Millisecond)
	defer close(release)
	if _, err := client.Do("GET", Request("GET", "/", nil, "")); err == nil || errors.Is(err, ErrNotSent) {
		t.Fatalf("no answer: %v", err)
	}
}
