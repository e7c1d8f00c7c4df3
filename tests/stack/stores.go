package stack

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Stores are the names under which `make stack` runs the real stores.
var Stores = []string{"redis", "cache", "kafka", "mysql"}

const (
	// StoresWithin bounds the start of the stores, which first mend what a crash left behind.
	StoresWithin = 120 * time.Second

	// controllerOffset is how far above the broker's port Kafka's controller listens.
	controllerOffset = 10000
)

// NewReal makes an installation on real stores of its own, which do not run yet; else as New.
func NewReal(t *testing.T, dataDir string, settings ...string) *Stack {
	t.Helper()
	folder, err := filepath.EvalSymlinks(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	redis := "redis://" + freeAddr(t)
	kafka := freeAddrs(t, controllerOffset)
	mysql := "mysql://ecom:ecom@" + freeAddr(t) + "/ecommerce"
	s := New(t, folder, append([]string{
		"BACKEND=stack", "REDIS_URL=" + redis, "KAFKA_BROKERS=" + kafka, "MYSQL_URL=" + mysql,
	}, settings...)...)
	s.RedisURL, s.KafkaBrokers, s.MySQLURL = redis, kafka, mysql
	return s
}

// Up starts these stores, or all of them, where they do not run, and waits until they answer.
func (s *Stack) Up(names ...string) {
	s.t.Helper()
	root, err := Root()
	if err != nil {
		s.t.Fatal(err)
	}
	program := s.Run(root, "compose/local/stack", append([]string{"up"}, names...)...)
	if code := program.AwaitEnd(StoresWithin); code != 0 {
		s.t.Fatalf("the stores %v do not start: exit code %d", names, code)
	}
}

// FreeAddr is a loopback address for something that a test runs beside the installation.
func (s *Stack) FreeAddr() string {
	s.t.Helper()
	return freeAddr(s.t)
}

// StoreFile returns the path of something in a store's folder.
func (s *Stack) StoreFile(name, file string) string { return filepath.Join(s.storeFolder(name), file) }

func (s *Stack) storeFolder(name string) string { return filepath.Join(s.DataDir, "stack", name) }

// findStore returns the process id of a store, or 0.
func (s *Stack) findStore(name string) int {
	text, err := os.ReadFile(s.StoreFile(name, "pid"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) == 0 {
		return 0
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || !s.owns(filepath.Join("/proc", fields[0])) {
		return 0 // ended; its number may be another's by now
	}
	return pid
}

// Server is a server process of its own, beside those of `make run` or instead of them.
type Server struct {
	*Program
	Admin  string // host:port
	Target string // what a gateway takes as ECOM_SERVER_TARGET
}

// serverBinary is the setting by which `make run` takes another server.
const serverBinary = "ECOM_SERVER_BINARY"

// WithServer is the same installation, started with another server of build/release/bin.
func (s *Stack) WithServer(name string, settings ...string) *Stack {
	s.t.Helper()
	return s.With(append([]string{serverBinary + "=" + Binary(s.t, name)}, settings...)...)
}

// StartServer starts a server with these roles ("api,recorder"), on addresses of its own, and does not
// wait for it. Its name tells it from others.
func (s *Stack) StartServer(name, roles string, settings ...string) *Server {
	s.t.Helper()
	admin, socket := freeAddr(s.t), filepath.Join(s.DataDir, name+".sock")
	own := s.With(append([]string{
		"ECOM_ROLES=" + roles, "GRPC_ADDR=" + freeAddr(s.t), "ADMIN_ADDR=" + admin, "ECOM_GRPC_SOCKET=" + socket,
		"ECOM_SAMPLE_DATA=true",
	}, settings...)...)
	binary := Binary(s.t, "ecom-server")
	own.env = slices.DeleteFunc(own.env, func(setting string) bool {
		path, chosen := strings.CutPrefix(setting, serverBinary+"=")
		if chosen {
			binary = path
		}
		return chosen // it is for compose/local/run; the server knows no such setting
	})
	return &Server{Program: own.Run("", binary), Admin: admin, Target: "unix:" + socket}
}

// Gateway is a gateway process of its own.
type Gateway struct {
	*Program
	HTTP  string // host:port
	Admin string // host:port
}

// StartGateway starts a gateway in front of a server, and does not wait for it.
func (s *Stack) StartGateway(server *Server) *Gateway {
	s.t.Helper()
	http, admin := freeAddr(s.t), freeAddr(s.t)
	program := s.With("HTTP_ADDR="+http, "GATEWAY_ADMIN_ADDR="+admin, "ECOM_SERVER_TARGET="+server.Target).
		Run("", Binary(s.t, "ecom-gateway"))
	return &Gateway{Program: program, HTTP: http, Admin: admin}
}
