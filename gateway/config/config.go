// Package config reads the gateway's settings: flag over environment over file over default.
package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on machines without a zone database, too
)

// Config is what the gateway runs with: every value is checked.
type Config struct {
	HTTPAddr  string // REST, host:port
	AdminAddr string // health, info and metrics, host:port
	// ServerTargets name the gRPC servers: "unix:" and a path, or host:port; a single one may be any
	// target that gRPC can resolve.
	ServerTargets []string
	Zone          *time.Location // in which answers show times
	LogFormat     string         // auto, json or text
	LogLevel      *slog.LevelVar // may be changed while the gateway runs
	Digest        string         // of all settings: two gateways with the same one are set up alike

	HeaderTimeout   time.Duration // for a client to send a request's headers
	UpstreamTimeout time.Duration // of one call to the server
	DrainGrace      time.Duration // from a stop signal until no connection is accepted any more
	DrainTimeout    time.Duration // from then on, for requests in flight
	ConnectionsMax  int           // REST connections open at once
	InFlightMax     int           // requests that wait for the server at once
	Lanes           int           // streams that carry calls to each server; 0: one HTTP/2 stream a call
	CopyAgeMax      time.Duration // how old a product may be that is answered from a copy; 0: there are none
	CacheMaxAge     time.Duration // how long others may answer with a product without asking; 0: not at all
	TracesEndpoint  string        // base URL of the OTLP collector that gets spans; empty: there are none
}

// ErrHelp says that the user asked for --help or --print-config, which was printed.
var ErrHelp = errors.New("help was asked for")

// A setting is one name that the gateway understands.
type setting struct {
	name  string // in the environment and in the file
	value string // the default
	help  string
	set   func(*Config, string) error
}

// raw holds values that others are derived from.
type raw struct{ dataDir, socket, target string }

func settings(r *raw) []setting {
	return []setting{
		{"HTTP_ADDR", "127.0.0.1:8080", "address of the REST API",
			func(c *Config, v string) error { c.HTTPAddr = v; return checkAddr(v) }},
		{"GATEWAY_ADMIN_ADDR", "127.0.0.1:8081", "address of health, info and metrics",
			func(c *Config, v string) error { c.AdminAddr = v; return checkAddr(v) }},
		{"DATA_DIR", ".data", "the server's data folder; its socket is in it",
			func(_ *Config, v string) error { r.dataDir = v; return nil }},
		{"ECOM_GRPC_SOCKET", "", "the server's Unix socket (default: server.sock in DATA_DIR)",
			func(_ *Config, v string) error { r.socket = v; return nil }},
		{"ECOM_SERVER_TARGET", "", "the gRPC server, unix:<path> or <host>:<port>, or several, separated by commas (default: the socket)",
			func(_ *Config, v string) error { r.target = v; return checkTargets(v) }},
		{"TZ", "Asia/Seoul", "zone in which answers show times",
			func(c *Config, v string) (err error) { c.Zone, err = zone(v); return err }},
		{"ECOM_LOG_FORMAT", "auto", "auto (text on a terminal, else json), json or text",
			func(c *Config, v string) error { c.LogFormat = v; return oneOf(v, "auto", "json", "text") }},
		{"ECOM_LOG_LEVEL", "info", "debug, info, warn or error",
			func(c *Config, v string) error {
				if err := oneOf(v, "debug", "info", "warn", "error"); err != nil {
					return err
				}
				c.LogLevel = new(slog.LevelVar)
				return c.LogLevel.UnmarshalText([]byte(v))
			}},
		{"ECOM_HTTP_HEADER_TIMEOUT", "5s", "how long a client may take to send its headers, 1ms to 1m",
			duration(func(c *Config) *time.Duration { return &c.HeaderTimeout }, time.Millisecond, time.Minute)},
		{"ECOM_UPSTREAM_TIMEOUT", "3s", "deadline of one call to the server, 1ms to 1m",
			duration(func(c *Config) *time.Duration { return &c.UpstreamTimeout }, time.Millisecond, time.Minute)},
		{"ECOM_DRAIN_GRACE", "300ms", "how long a stopping gateway still accepts connections, 0s to 1m",
			duration(func(c *Config) *time.Duration { return &c.DrainGrace }, 0, time.Minute)},
		{"ECOM_DRAIN_TIMEOUT", "10s", "how long a stopping gateway then waits for requests in flight, 0s to 10m",
			duration(func(c *Config) *time.Duration { return &c.DrainTimeout }, 0, 10*time.Minute)},
		{"ECOM_HTTP_CONNECTIONS_MAX", "4096", "REST connections open at once, 1 to 100000; more wait to be accepted",
			count(func(c *Config) *int { return &c.ConnectionsMax }, 1, 100_000)},
		{"ECOM_HTTP_IN_FLIGHT_MAX", "1024", "requests that wait for the server at once, 1 to 100000; more get 503",
			count(func(c *Config) *int { return &c.InFlightMax }, 1, 100_000)},
		{"ECOM_LANES", "2", "streams that carry calls to each server, many in one message, 0 to 16; 0: a call each",
			count(func(c *Config) *int { return &c.Lanes }, 0, 16)},
		{"ECOM_PRODUCT_COPY_AGE_MAX", "200ms", "how old a product may be that the gateway answers from a copy, 0s to 1s; 0s: it asks the server",
			duration(func(c *Config) *time.Duration { return &c.CopyAgeMax }, 0, time.Second)},
		{"ECOM_PRODUCT_CACHE_MAX_AGE", "0s", "how long browsers and CDNs may show a product without asking, and without counting, 0s to 1h",
			duration(func(c *Config) *time.Duration { return &c.CacheMaxAge }, 0, time.Hour)},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "", "base URL of a collector that gets a span of each sampled request, by OTLP over HTTP (default: no spans)",
			func(c *Config, v string) error { c.TracesEndpoint = v; return checkCollector(v) }},
	}
}

// foreign are the names of the file and the environment that only the server reads.
var foreign = []string{
	"GRPC_ADDR", "ADMIN_ADDR", "BACKEND", "COUPON_STOCK", "REDIS_URL", "CACHE_URL", "KAFKA_BROKERS",
	"MYSQL_URL", "ECOM_SAMPLE_DATA", "ECOM_ACK_DEADLINE", "ECOM_CLAIMS_QUEUED_MAX",
	"ECOM_CLAIM_BATCH_MAX", "ECOM_CLAIM_WAIT_TARGET", "ECOM_COMPLETION_QUEUES", "ECOM_PRODUCT_HARD_TTL",
	"ECOM_PRODUCT_L1_BYTES_MAX", "ECOM_PRODUCT_L1_ENTRIES_MAX", "ECOM_PRODUCT_LOADS_QUEUED_MAX",
	"ECOM_PRODUCT_NEGATIVE_TTL", "ECOM_PRODUCT_READ_AHEAD", "ECOM_PRODUCT_SOFT_TTL", "ECOM_RECONCILE_INTERVAL",
	"ECOM_RECORD_BATCH_MAX", "ECOM_RECORDERS", "ECOM_REDIS_CLUSTER", "ECOM_REQUESTS_IN_FLIGHT_MAX",
	"ECOM_RESERVATIONS_MAX", "ECOM_ROLES", "ECOM_VIEW_FLUSH_INTERVAL",
}

// Load reads the settings from the arguments (without the program's name), the environment (as
// os.Environ gives it) and the file that ECOM_CONFIG or --config names. It returns ErrHelp after it
// wrote what was asked for to out, and otherwise an error that joins every problem found.
func Load(args, environ []string, out io.Writer) (Config, error) {
	var (
		config   Config
		r        raw
		problems []error
	)
	known := settings(&r)
	complain := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }

	flags, printConfig, help := parseFlags(args, known, complain)
	if help {
		return config, cmp.Or(usage(out, known), ErrHelp)
	}
	env := parseEnv(environ, known, complain)
	path, fromFlag := flags["ECOM_CONFIG"]
	if !fromFlag {
		path = env["ECOM_CONFIG"]
	}
	file := parseFile(path, known, complain)

	var printed strings.Builder
	digest := sha256.New()
	for _, s := range known {
		value, from := s.value, "the default"
		for _, source := range []struct {
			values map[string]string
			name   string
		}{{flags, "a flag"}, {env, "the environment"}, {file, "the file"}} {
			if v, ok := source.values[s.name]; ok {
				value, from = v, source.name
				break
			}
		}
		if err := s.set(&config, value); err != nil {
			complain("%s, from %s: %q: %w", s.name, from, value, err)
		}
		fmt.Fprintf(digest, "%s=%s\n", s.name, value)
		if value == "" {
			continue // derived from others; the server would not take it from a shared file
		}
		fmt.Fprintf(&printed, "# from %s\n%s = %s\n", from, s.name, value)
	}
	config.ServerTargets = r.serverTargets()
	config.Digest = hex.EncodeToString(digest.Sum(nil)[:6])
	if len(problems) > 0 {
		return config, errors.Join(problems...)
	}
	if printConfig {
		_, err := io.WriteString(out, printed.String())
		return config, cmp.Or(err, ErrHelp)
	}
	return config, nil
}

func (r *raw) serverTargets() []string {
	switch {
	case r.target != "":
		return strings.Split(r.target, ",")
	case r.socket != "":
		return []string{"unix:" + r.socket}
	default:
		return []string{"unix:" + filepath.Join(r.dataDir, "server.sock")}
	}
}

// flagName is --http-addr for HTTP_ADDR and --log-level for ECOM_LOG_LEVEL.
func flagName(name string) string {
	return "--" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "ECOM_"), "_", "-"))
}

func parseFlags(args []string, known []setting, complain func(string, ...any)) (values map[string]string, print, help bool) {
	names := map[string]string{flagName("ECOM_CONFIG"): "ECOM_CONFIG"}
	for _, s := range known {
		names[flagName(s.name)] = s.name
	}
	values = map[string]string{}
	for len(args) > 0 {
		flag, value, hasValue := strings.Cut(args[0], "=")
		args = args[1:]
		switch name, ok := names[flag]; {
		case flag == "--help" || flag == "-h":
			help = true
		case flag == "--print-config" && !hasValue:
			print = true
		case !ok:
			complain("%s: no such flag; --help lists them", flag)
		case !hasValue && len(args) == 0:
			complain("%s: needs a value", flag)
		default:
			if !hasValue {
				value, args = args[0], args[1:]
			}
			values[name] = value
		}
	}
	return values, print, help
}

// parseEnv takes an empty variable for one that is not set, as shells make them.
func parseEnv(environ []string, known []setting, complain func(string, ...any)) map[string]string {
	ours := map[string]bool{"ECOM_CONFIG": true}
	for _, s := range known {
		ours[s.name] = true
	}
	theirs := map[string]bool{}
	for _, name := range foreign {
		theirs[name] = true
	}
	values := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case ours[name] && value != "":
			values[name] = value
		case strings.HasPrefix(name, "ECOM_") && !ours[name] && !theirs[name]:
			complain("%s, from the environment: no such setting; --help lists them", name)
		}
	}
	return values
}

// fileBytesMax is far above any real settings file; it keeps a mistaken path from filling memory.
const fileBytesMax = 1 << 20

// parseFile reads `name = value` lines. A line that starts with # is a comment. Names are those of
// the environment; case, dashes for underscores and a missing ECOM_ make no difference.
func parseFile(path string, known []setting, complain func(string, ...any)) map[string]string {
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		complain("ECOM_CONFIG: %w", err)
		return nil
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, fileBytesMax+1))
	if err != nil || len(text) > fileBytesMax {
		complain("ECOM_CONFIG: %s: not a settings file of at most %d bytes: %v", path, fileBytesMax, err)
		return nil
	}

	names := map[string]string{}
	for _, s := range known {
		names[flagName(s.name)] = s.name
	}
	for _, name := range foreign {
		names[flagName(name)] = name
	}
	values := map[string]string{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			complain("%s:%d: not of the form name = value", path, i+1)
			continue
		}
		key = strings.TrimSpace(key)
		name, ok := names[flagName(strings.ToUpper(strings.ReplaceAll(key, "-", "_")))]
		if !ok {
			complain("%s:%d: %s: no such setting", path, i+1, key)
			continue
		}
		if _, twice := values[name]; twice {
			complain("%s:%d: %s is set twice", path, i+1, name)
		}
		values[name] = strings.TrimSpace(value)
	}
	return values
}

func usage(out io.Writer, known []setting) error {
	var text strings.Builder
	text.WriteString("ecom-gateway serves the REST API in front of the ecom gRPC server.\n\n" +
		"Each setting is a flag, an environment variable, or a `name = value` line of the file that\n" +
		"--config or ECOM_CONFIG names; the first of these wins.\n\n")
	for _, s := range known {
		fmt.Fprintf(&text, "  %-29s %-27s %s", flagName(s.name), s.name, s.help)
		if s.value != "" {
			fmt.Fprintf(&text, " (default %s)", s.value)
		}
		text.WriteByte('\n')
	}
	fmt.Fprintf(&text, "  %-29s %-27s %s\n", "--config", "ECOM_CONFIG", "file with settings")
	fmt.Fprintf(&text, "  %-29s %-27s %s\n", "--print-config", "", "prints the settings and where each is from, and exits")
	fmt.Fprintf(&text, "  %-29s %-27s %s\n", "--help", "", "prints this, and exits")
	_, err := io.WriteString(out, text.String())
	return err
}

func checkAddr(v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("the port must be a number from 0 to 65535")
	}
	return nil
}

func checkTargets(v string) error {
	targets := strings.Split(v, ",")
	if v == "" || len(targets) == 1 && strings.Contains(v, "://") {
		return nil
	}
	for _, target := range targets {
		if strings.HasPrefix(target, "unix:") && len(target) > len("unix:") {
			continue
		}
		if err := checkAddr(target); err != nil {
			return err
		}
	}
	return nil
}

func checkCollector(v string) error {
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	if err != nil {
		return err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("must be of the form http://host:port")
	}
	return nil
}

func zone(v string) (*time.Location, error) {
	// LoadLocation would take these for UTC and for whatever this machine is set to.
	if v == "" || v == "Local" {
		return nil, errors.New("not a time zone")
	}
	return time.LoadLocation(v)
}

func oneOf(v string, allowed ...string) error {
	for _, a := range allowed {
		if v == a {
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(allowed, ", "))
}

func duration(field func(*Config) *time.Duration, lowest, highest time.Duration) func(*Config, string) error {
	return func(c *Config, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d < lowest || d > highest {
			return fmt.Errorf("must be a duration from %v to %v", lowest, highest)
		}
		*field(c) = d
		return nil
	}
}

func count(field func(*Config) *int, lowest, highest int) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < lowest || n > highest {
			return fmt.Errorf("must be a number from %d to %d", lowest, highest)
		}
		*field(c) = n
		return nil
	}
}
