package limit

import (
	"log/slog"
	"net/http"
	"time"
)

const (
	// HeaderBytesMax is what request line and headers may take together: a browser's cookies fit
	// four times over, and the API reads none of them. More gets 431.
	HeaderBytesMax = 16 << 10
	// BodyBytesMax is for bodies that some clients send along unasked. More gets 413.
	BodyBytesMax = 8 << 10

	// net/http allows this much more than http.Server.MaxHeaderBytes says.
	headerSlop = 4 << 10

	bodyTimeout  = 5 * time.Second  // for a body, on top of the headers' time
	writeTimeout = 10 * time.Second // for an answer, on top of the work's time
	idleTimeout  = 60 * time.Second // between requests: longer than load balancers ask again
)

// Times are what a server is given to wait for.
type Times struct {
	Header time.Duration // a client's headers; slower connections are cut
	Work   time.Duration // the longest that the handler takes
}

// NewServer is an HTTP/1 server with every limit set.
func NewServer(handler http.Handler, times Times, log *slog.Logger) *http.Server {
	readTimeout := times.Header + bodyTimeout
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      handler,
		Protocols:                    &protocols,
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               HeaderBytesMax - headerSlop,
		ReadHeaderTimeout:            times.Header,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 readTimeout + times.Work + writeTimeout,
		IdleTimeout:                  idleTimeout,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
