package config

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ecom.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreTheContracts(t *testing.T) {
	var out strings.Builder
	c, err := Load(nil, []string{"HOME=/nowhere", "HTTP_ADDR="}, &out)
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTPAddr != "127.0.0.1:8080" || c.AdminAddr != "127.0.0.1:8081" || !slices.Equal(c.ServerTargets, []string{"unix:.data/server.sock"}) ||
		c.Zone.String() != "Asia/Seoul" || c.LogFormat != "auto" || c.LogLevel.Level() != slog.LevelInfo || c.UpstreamTimeout != 3*time.Second {
		t.Errorf("got %+v", c)
	}
	if out.Len() != 0 {
		t.Errorf("printed %q", out.String())
	}
}

func TestFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	path := writeFile(t, "# a comment\n\nHTTP_ADDR = 127.0.0.1:1\nlog-level=warn\n ecom_drain_grace = 1s \nGRPC_ADDR = 127.0.0.1:9\nsample-data=true\nTZ=UTC\n")
	env := []string{"ECOM_CONFIG=" + path, "HTTP_ADDR=127.0.0.1:2", "ECOM_DRAIN_GRACE=2s", "GRPC_ADDR=127.0.0.1:8", "ECOM_SAMPLE_DATA=true"}
	c, err := Load([]string{"--http-addr", "127.0.0.1:3"}, env, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTPAddr != "127.0.0.1:3" || c.DrainGrace != 2*time.Second || c.LogLevel.Level() != slog.LevelWarn || c.Zone != time.UTC || c.DrainTimeout != 10*time.Second {
		t.Errorf("got %+v", c)
	}
	other := writeFile(t, "HTTP_ADDR = 127.0.0.1:4\n")
	if c, err = Load([]string{"--config=" + other}, []string{"ECOM_CONFIG=" + path}, &strings.Builder{}); err != nil || c.HTTPAddr != "127.0.0.1:4" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestTheServerIsFoundByTargetElseBySocketElseInTheDataFolder(t *testing.T) {
	for want, args := range map[string][]string{
		"unix:/d/server.sock": {"--data-dir=/d"},
		"unix:/s.sock":        {"--data-dir=/d", "--grpc-socket=/s.sock"},
		"127.0.0.1:50051":     {"--data-dir=/d", "--grpc-socket=/s.sock", "--server-target=127.0.0.1:50051"},
		"dns:///shop:50051":   {"--server-target=dns:///shop:50051"},
		"unix:/a b:1":         {"--server-target=unix:/a,b:1"},
	} {
		if c, err := Load(args, nil, &strings.Builder{}); err != nil || strings.Join(c.ServerTargets, " ") != want {
			t.Errorf("%q: got %q, %v", args, c.ServerTargets, err)
		}
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	path := writeFile(t, "nonsense\nHTTP_ADRR = x\nTZ=UTC\nTZ=UTC\n")
	_, err := Load(
		[]string{"--nope", "--http-addr=nowhere", "--log-level=loud", "--print-config=yes", "extra", "--gateway-admin-addr"},
		[]string{"ECOM_CONFIG=" + path, "TZ=Mars/Olympus", "ECOM_TYPO=1", "ECOM_UPSTREAM_TIMEOUT=0s", "ECOM_DRAIN_GRACE=soon", "ECOM_HTTP_IN_FLIGHT_MAX=0", "ECOM_LOG_FORMAT=xml", "ECOM_SERVER_TARGET=unix:"},
		&strings.Builder{})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"--nope: no such flag", "extra: no such flag", "--print-config: no such flag", "--gateway-admin-addr: needs a value",
		`HTTP_ADDR, from a flag: "nowhere"`, `ECOM_LOG_LEVEL, from a flag: "loud"`, `TZ, from the environment: "Mars/Olympus"`,
		"ECOM_TYPO, from the environment: no such setting", `ECOM_UPSTREAM_TIMEOUT, from the environment: "0s"`,
		`ECOM_DRAIN_GRACE, from the environment: "soon"`, `ECOM_HTTP_IN_FLIGHT_MAX, from the environment: "0"`,
		`ECOM_LOG_FORMAT, from the environment: "xml"`, `ECOM_SERVER_TARGET, from the environment: "unix:"`,
		":1: not of the form", ":2: HTTP_ADRR: no such setting", ":4: TZ is set twice",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q in:\n%v", want, err)
		}
	}
}

func TestBadValuesAreRefused(t *testing.T) {
	for _, arg := range []string{
		"--http-addr=8080", "--http-addr=127.0.0.1", "--http-addr=127.0.0.1:http", "--http-addr=127.0.0.1:65536", "--http-addr=127.0.0.1:-1",
		"--tz=", "--tz=Local", "--tz=Asia/Soul", "--tz=../etc/passwd", "--log-level=INFO", "--log-level=info+1",
		"--http-connections-max=1e3", "--http-connections-max=100001", "--drain-timeout=-1s", "--config=/no/such/file", "--server-target=nowhere",
		"--otel-exporter-otlp-endpoint=127.0.0.1:4318", "--otel-exporter-otlp-endpoint=grpc://127.0.0.1:4317", "--otel-exporter-otlp-endpoint=http://",
		"--otel-exporter-otlp-endpoint=http://a/?b", "--otel-exporter-otlp-endpoint=http://a:b",
	} {
		if _, err := Load([]string{arg}, nil, &strings.Builder{}); err == nil || errors.Is(err, ErrHelp) {
			t.Errorf("%s was accepted: %v", arg, err)
		}
	}
}

func TestAFileThatIsTooLargeIsRefused(t *testing.T) {
	if _, err := Load([]string{"--config=/dev/zero"}, nil, &strings.Builder{}); err == nil {
		t.Error("accepted")
	}
}

func TestHelpNamesEverySetting(t *testing.T) {
	var out, list strings.Builder
	if _, err := Load([]string{"--help", "--nope"}, []string{"ECOM_TYPO=1"}, &out); !errors.Is(err, ErrHelp) {
		t.Fatal(err)
	}
	for _, s := range settings(&raw{}) {
		if !strings.Contains(out.String(), flagName(s.name)+" ") || !strings.Contains(out.String(), s.name+" ") {
			t.Errorf("lacks %s", s.name)
		}
		list.WriteString(s.name)
	}
	if list.Len() == 0 {
		t.Error("there are no settings")
	}
}

func TestWhatPrintConfigPrintsIsAFileThatGivesTheSame(t *testing.T) {
	var first, second strings.Builder
	if _, err := Load([]string{"--print-config", "--tz=UTC", "--data-dir=/d d"}, []string{"ECOM_LOG_LEVEL=warn"}, &first); !errors.Is(err, ErrHelp) {
		t.Fatal(err)
	}
	for _, want := range []string{"# from a flag\nTZ = UTC\n", "# from the environment\nECOM_LOG_LEVEL = warn\n", "# from the default\nHTTP_ADDR = 127.0.0.1:8080\n"} {
		if !strings.Contains(first.String(), want) {
			t.Errorf("lacks %q in:\n%s", want, first.String())
		}
	}
	path := writeFile(t, first.String())
	if _, err := Load([]string{"--print-config", "--config", path}, nil, &second); !errors.Is(err, ErrHelp) {
		t.Fatal(err)
	}
	values := func(s string) (kept []string) {
		for _, line := range strings.Split(s, "\n") {
			if !strings.HasPrefix(line, "#") {
				kept = append(kept, line)
			}
		}
		return kept
	}
	if got, want := strings.Join(values(second.String()), "\n"), strings.Join(values(first.String()), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Server and gateway share environment and file, so each must know the other's names.
func TestServerAndGatewayKnowEachOthersSettings(t *testing.T) {
	source, err := os.ReadFile("../../server/app/config.cc")
	if err != nil {
		t.Fatal(err)
	}
	known := append([]string{"ECOM_CONFIG"}, foreign...)
	for _, s := range settings(&raw{}) {
		known = append(known, s.name)
	}
	for _, name := range known {
		if !strings.Contains(string(source), `"`+name+`"`) {
			t.Errorf("the server does not know %s", name)
		}
	}
	theirs := regexp.MustCompile(`"(ECOM_[A-Z0-9_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(theirs) == 0 {
		t.Error("the server has no settings")
	}
	for _, match := range theirs {
		if !slices.Contains(known, match[1]) {
			t.Errorf("the gateway does not know %s", match[1])
		}
	}
}

func FuzzNoFileOrFlagBreaksTheReader(f *testing.F) {
	f.Add("HTTP_ADDR = 127.0.0.1:1\n# x\n= \n==", "--http-addr=x")
	f.Add("\x00\xff=\n\r\n", "--")
	f.Add("TZ=\xff", "--tz=\x00")
	f.Fuzz(func(t *testing.T, text, arg string) {
		c, err := Load([]string{arg, "--config=" + writeFile(t, text)}, nil, &strings.Builder{})
		if err == nil && (c.Zone == nil || c.HTTPAddr == "" || c.UpstreamTimeout <= 0 || c.InFlightMax <= 0) {
			t.Errorf("accepted as %+v", c)
		}
	})
}

func TestLoadTakesEverySettingOfTheServer(t *testing.T) {
	source, err := os.ReadFile("../../server/app/config.cc")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`"(ECOM_[A-Z0-9_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(names) < 20 {
		t.Fatalf("only %d settings found: %v", len(names), names)
	}
	for _, name := range names {
		_, err := Load(nil, []string{name[1] + "=x"}, &strings.Builder{})
		if err != nil && strings.Contains(err.Error(), "no such setting") {
			t.Errorf("%s: %v", name[1], err)
		}
	}
}

func TestTheDigestTellsSettingsApart(t *testing.T) {
	digest := func(args ...string) string {
		c, err := Load(args, nil, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest
	}
	if a, b := digest(), digest("--lanes=2"); a != b || len(a) != 12 {
		t.Errorf("%s and %s for the same settings", a, b)
	}
	if digest("--lanes=1") == digest() {
		t.Error("other settings have the same digest")
	}
}
