// Package link stands between two processes that talk over a Unix socket, and makes the network between
// them that a test wants: slow, in slices, one-way, or none. (Toxiproxy knows TCP only, and ends with the
// connection what it has held back.)
package link

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Condition is how bytes travel in one direction. The zero value is a perfect link.
type Condition struct {
	Held  bool          // none arrive; they do once it is lifted, as TCP would send them again
	Slice int           // the most that arrive at once; 0: no bound
	Delay time.Duration // until they arrive
}

// Proxy is a link. Thread-safe.
type Proxy struct {
	Socket string // where the client finds it

	backend  string
	listener net.Listener

	mu      sync.Mutex
	changed sync.Cond
	way     [2]Condition
	open    map[net.Conn]bool
	closed  bool
	// Open ones that nothing arrives at any more.
	forgotten map[net.Conn]bool
}

// The directions.
const (
	toServer = iota
	toClient
)

// Start listens on socket for a server at the socket backend, which need not be there yet. It ends with
// the test.
func Start(t *testing.T, socket, backend string) *Proxy {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Socket: socket, backend: backend, listener: listener, open: map[net.Conn]bool{}, forgotten: map[net.Conn]bool{}}
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
		_ = listener.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Break()
		all.Wait()
	})
	return p
}

// Set changes the link, for the connections that there are, too.
func (p *Proxy) Set(requests, answers Condition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.way = [2]Condition{toServer: requests, toClient: answers}
	p.changed.Broadcast()
}

// Forget loses what is on the connections that there are, now and ever after, and tells neither end: as a
// network that has forgotten them, or a machine that came back as another, would.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		p.forgotten[conn] = true
	}
}

// Break ends all connections, whatever is on its way.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		_ = conn.Close()
	}
	clear(p.open)
	clear(p.forgotten)
	p.changed.Broadcast()
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("unix", p.backend)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.open[client], p.open[server] = true, true
	closed := p.closed
	p.mu.Unlock()
	if closed {
		p.end(client, server)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.carry(client, server, toServer) })
	both.Go(func() { p.carry(server, client, toClient) })
	both.Wait()
}

type packet struct {
	bytes []byte
	at    time.Time
}

// onTheWay bounds the packets of one direction that wait for their delay.
const onTheWay = 1024

func (p *Proxy) carry(from, to net.Conn, way int) {
	packets := make(chan packet, onTheWay)
	var writer sync.WaitGroup
	writer.Go(func() {
		for each := range packets {
			p.deliver(each, to, way)
		}
	})
	for {
		buffer := make([]byte, 16<<10)
		n, err := from.Read(buffer)
		if err != nil {
			break // either end may go at any time
		}
		packets <- packet{buffer[:n], time.Now()}
	}
	close(packets)
	writer.Wait()
	p.end(from, to)
}

func (p *Proxy) deliver(each packet, to net.Conn, way int) {
	for rest := each.bytes; len(rest) > 0; {
		condition, stands := p.await(to, way)
		if !stands {
			return
		}
		time.Sleep(time.Until(each.at.Add(condition.Delay)))
		slice := rest
		if condition.Slice > 0 {
			slice = rest[:min(condition.Slice, len(rest))]
		}
		n, err := to.Write(slice)
		if err != nil {
			return
		}
		rest = rest[n:]
	}
}

// await waits while nothing may arrive. False: the connection is gone.
func (p *Proxy) await(to net.Conn, way int) (Condition, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.way[way].Held || p.forgotten[to]) && p.open[to] {
		p.changed.Wait()
	}
	return p.way[way], p.open[to]
}

func (p *Proxy) end(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
		delete(p.open, conn)
		delete(p.forgotten, conn)
	}
	p.changed.Broadcast()
}
