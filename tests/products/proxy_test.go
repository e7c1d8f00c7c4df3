package products

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between a server and MariaDB, and can hold back answers: so a read is under way for as
// long as a trial likes, with what the database has already said.
type proxy struct {
	addr    string
	backend string

	mu       sync.Mutex
	changed  sync.Cond
	marker   []byte // an answer with this in it is held; nil: none is
	held     int    // answers that were held back since hold
	closed   bool
	listener net.Listener
	open     map[net.Conn]bool
}

func startProxy(t *testing.T, addr, backend string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: addr, backend: backend, listener: listener, open: map[net.Conn]bool{}}
	p.changed.L = &p.mu
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed
			}
			all.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		p.close()
		all.Wait()
	})
	return p
}

// hold holds back every answer from now on that has the marker in it.
func (p *proxy) hold(marker string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marker, p.held = []byte(marker), 0
}

// isHolding tells whether an answer is held back.
func (p *proxy) isHolding() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held > 0
}

// release lets go of what is held, and holds nothing more.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marker = nil
	p.changed.Broadcast()
}

func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.marker = true, nil
	p.changed.Broadcast()
	_ = p.listener.Close()
	for conn := range p.open {
		_ = conn.Close()
	}
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.backend)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.track(client, server) {
		return
	}
	defer p.forget(client, server)
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, client) // either end may go at any time
		_ = server.Close()
	})
	both.Go(func() {
		p.answer(client, server)
		_ = client.Close()
	})
	both.Wait()
}

func (p *proxy) answer(client, server net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		p.wait(buffer[:n])
		if _, writeErr := client.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

func (p *proxy) wait(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.marker == nil || !bytes.Contains(text, p.marker) {
		return
	}
	p.held++
	for p.marker != nil {
		p.changed.Wait()
	}
}

func (p *proxy) track(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		p.open[conn] = true
	}
	return !p.closed
}

func (p *proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		delete(p.open, conn)
	}
}
