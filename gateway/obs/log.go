// Package obs is what an operator sees of the gateway: log, metrics, health and build.
package obs

import (
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/grpclog"
)

// NewLog writes to out, as text if format is "text", or "auto" and out a terminal, else as JSON.
// It also takes over what gRPC and grpc-gateway log: their errors, as warnings.
func NewLog(out io.Writer, format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: asTheServerDoes}
	var handler slog.Handler = slog.NewJSONHandler(out, options)
	if format == "text" || format == "auto" && isTerminal(out) {
		handler = slog.NewTextHandler(out, options)
	}
	handler = handler.WithAttrs([]slog.Attr{slog.String("process", "gateway")})
	libraries := slog.NewLogLogger(handler, slog.LevelWarn).Writer()
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, libraries))
	return slog.New(handler)
}

// asTheServerDoes lets one query find the lines of both processes.
func asTheServerDoes(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		a.Value = slog.StringValue(strings.ToLower(a.Value.String()))
	case slog.TimeKey:
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	return a
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
