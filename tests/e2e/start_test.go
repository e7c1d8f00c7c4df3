package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ecom/tests/stack"
)

const cannotStart = 78 // EX_CONFIG: starting again would not help

func TestStartOfTwoInstallationsSideBySideKeepsThemApart(t *testing.T) {
	t.Parallel()
	first, second := stack.New(t, stack.DataDir(t)), stack.New(t, stack.DataDir(t), "TZ=UTC", "COUPON_STOCK=1")
	firstRun, secondRun := first.Make("run"), second.Make("run")
	first.AwaitReady(firstRun)
	second.AwaitReady(secondRun)
	for _, s := range []*stack.Stack{first, second} {
		if response := send(t, s.HTTP, "POST", "/coupons/1/issue", "userId: 5"); response.Status != 200 {
			t.Errorf("%d %s", response.Status, response.Body)
		}
	}
	if response := send(t, first.HTTP, "POST", "/coupons/1/issue", "userId: 6"); response.Status != 200 {
		t.Errorf("the first, with stock: %d %s", response.Status, response.Body)
	}
	if response := send(t, second.HTTP, "POST", "/coupons/1/issue", "userId: 6"); response.Status != 400 {
		t.Errorf("the second, sold out: %d %s", response.Status, response.Body)
	}
	if response := send(t, second.HTTP, "GET", "/products/1"); !strings.Contains(string(response.Body), "2025-12-25T09:02:23") {
		t.Errorf("the second shows its own zone's time: %s", response.Body)
	}
	firstRun.Stop()
	if response := send(t, second.HTTP, "GET", "/products/1"); response.Status != 200 {
		t.Errorf("the second, after the first stopped: %d %s", response.Status, response.Body)
	}
	secondRun.Stop()
}

func TestStartInAFolderTooLongForASocketPathWorks(t *testing.T) {
	t.Parallel()
	base := stack.DataDir(t) + "/"
	s := stack.New(t, base+strings.Repeat("d", 200-len(base)))
	program := s.Start()
	if response := send(t, s.HTTP, "POST", "/coupons/1/issue", "userId: 5"); response.Status != 200 {
		t.Errorf("%d %s", response.Status, response.Body)
	}
	program.Stop()
}

func TestStartInARelativeFolderMakesItWhereTheCommandRuns(t *testing.T) {
	t.Parallel()
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(root, stack.DataDir(t)+"/new/folder")
	if err != nil {
		t.Fatal(err)
	}
	s := stack.New(t, relative)
	s.Start().Stop()
	if rows := queryNumber(t, filepath.Join(root, relative), "SELECT count(*) FROM products"); rows != 100 {
		t.Errorf("%d products", rows)
	}
}

func TestStartAgainChangesNothingInTheSampleData(t *testing.T) {
	t.Parallel()
	dir := stack.DataDir(t)
	first := stack.New(t, dir, "COUPON_STOCK=7")
	program := first.Start()
	if response := send(t, first.HTTP, "POST", "/coupons/1/issue", "userId: 5"); response.Status != 200 {
		t.Fatalf("%d %s", response.Status, response.Body)
	}
	program.Stop()
	dump := func() string {
		return query(t, dir, "SELECT id, name, total_quantity, available_quantity, starts_at_us, ends_at_us, incarnation FROM coupons ORDER BY id;"+
			"SELECT * FROM coupon_issues; SELECT * FROM products ORDER BY id;")
	}
	before := dump()
	stack.New(t, dir, "COUPON_STOCK=9").Start().Stop()
	if after := dump(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// requireOneClearLine requires that one line says all of it. Others may only announce it.
func requireOneClearLine(t *testing.T, output string, wants ...string) {
	t.Helper()
	lines := problemLines(output)
	clear := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasSuffix(line, ":") })
	if len(clear) != 1 || len(lines) > 2 {
		t.Fatalf("%d lines about it: %q", len(lines), lines)
	}
	for _, want := range wants {
		if !strings.Contains(clear[0], want) {
			t.Errorf("%s does not name %s", clear[0], want)
		}
	}
}

// problemLines are the lines of an output that are more than information.
func problemLines(output string) []string {
	var lines []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		var entry struct {
			Level string `json:"level"`
		}
		_ = json.Unmarshal([]byte(line), &entry) // a line that is no JSON is more than information
		if line != "" && entry.Level != "info" && entry.Level != "debug" {
			lines = append(lines, line)
		}
	}
	return lines
}

// fileSums sums up the files below a folder that exist.
func fileSums(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		sums[path] = fmt.Sprintf("%d %x", len(data), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

func requireUntouched(t *testing.T, before, after map[string]string) {
	t.Helper()
	for path, sum := range before {
		if after[path] != sum {
			t.Errorf("%s was %s and is %s", path, sum, after[path])
		}
	}
}

// takenAddr is a loopback address that something else listens on.
func takenAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // nobody was ever accepted
	return listener.Addr().String()
}

func sqlite(t *testing.T, path, sql string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), "sqlite3", path, sql).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// In the table below, %TAKEN% stands for the port of an address in use, which the line must name.
func TestStartThatCannotWorkEndsWithOneClearLineAndTouchesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		program  string
		settings []string
		prepare  func(t *testing.T, dir string)
		want     []string // all in the line
	}{
		{"the server's gRPC port is taken", "ecom-server", []string{"GRPC_ADDR=127.0.0.1:%TAKEN%"}, nil, []string{"%TAKEN%"}},
		{"the server's admin port is taken", "ecom-server", []string{"ADMIN_ADDR=127.0.0.1:%TAKEN%"}, nil, []string{"%TAKEN%"}},
		{"the gateway's REST port is taken", "ecom-gateway", []string{"HTTP_ADDR=127.0.0.1:%TAKEN%"}, nil, []string{"%TAKEN%"}},
		{"the gateway's admin port is taken", "ecom-gateway", []string{"GATEWAY_ADMIN_ADDR=127.0.0.1:%TAKEN%"}, nil, []string{"%TAKEN%"}},
		{"the server's folder cannot be made", "ecom-server", []string{"DATA_DIR=/proc/none/data"}, nil, []string{"/proc/none"}},
		{"the server's folder is a file", "ecom-server", []string{"DATA_DIR=/proc/version"}, nil, []string{"/proc/version"}},
		{"the server's zone is unknown", "ecom-server", []string{"TZ=Mars/Olympus"}, nil, []string{"TZ", "Mars/Olympus"}},
		{"the gateway's zone is unknown", "ecom-gateway", []string{"TZ=Mars/Olympus"}, nil, []string{"TZ", "Mars/Olympus"}},
		{"the server gets an unknown setting", "ecom-server", []string{"ECOM_LOG_LEVLE=info"}, nil, []string{"ECOM_LOG_LEVLE"}},
		{"the gateway gets an unknown setting", "ecom-gateway", []string{"ECOM_LOG_LEVLE=info"}, nil, []string{"ECOM_LOG_LEVLE"}},
		{"the stock is no number", "ecom-server", []string{"COUPON_STOCK=many"}, nil, []string{"COUPON_STOCK", "many"}},
		{"the data file is a text", "ecom-server", nil, func(t *testing.T, dir string) {
			write(t, dir+"/ecom.db", strings.Repeat("not a database\n", 500))
		}, []string{"ecom.db"}},
		{"the data file is another program's database", "ecom-server", nil, func(t *testing.T, dir string) {
			sqlite(t, dir+"/ecom.db", "PRAGMA application_id = 1234567; CREATE TABLE notes(text); INSERT INTO notes VALUES ('mine')")
		}, []string{"ecom.db"}},
		{"the data file is an anonymous database", "ecom-server", nil, func(t *testing.T, dir string) {
			sqlite(t, dir+"/ecom.db", "CREATE TABLE notes(text); INSERT INTO notes VALUES ('mine')")
		}, []string{"ecom.db"}},
		{"the data file is a foreign database with tables of our names", "ecom-server", nil, func(t *testing.T, dir string) {
			sqlite(t, dir+"/ecom.db", "CREATE TABLE coupons(id); CREATE TABLE products(id)")
		}, []string{"ecom.db"}},
		{"the data file is a folder", "ecom-server", nil, func(t *testing.T, dir string) {
			if err := os.Mkdir(dir+"/ecom.db", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, dir+"/ecom.db/mine", "mine")
		}, []string{"ecom.db"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := stack.DataDir(t)
			_, taken, _ := strings.Cut(takenAddr(t), ":")
			if test.prepare != nil {
				test.prepare(t, dir)
			}
			before := fileSums(t, dir)
			settings := slices.Clone(test.settings)
			for i := range settings {
				settings[i] = strings.ReplaceAll(settings[i], "%TAKEN%", taken)
			}
			s := stack.New(t, dir, append(settings, "ECOM_LOG_FORMAT=json")...)
			program := s.Run("", stack.Binary(t, test.program))
			if code := program.AwaitEnd(stack.StopWithin); code != cannotStart {
				t.Errorf("exit code %d, want %d", code, cannotStart)
			}
			for i, want := range test.want {
				test.want[i] = strings.ReplaceAll(want, "%TAKEN%", taken)
			}
			requireOneClearLine(t, program.Output(), test.want...)
			requireUntouched(t, before, fileSums(t, dir))
		})
	}
}

func TestStartNamesEveryWrongSettingAtOnce(t *testing.T) {
	t.Parallel()
	for program, settings := range map[string][]string{
		"ecom-server": {
			"GRPC_ADDR=nowhere", "COUPON_STOCK=-5", "TZ=Mars/Olympus", "ECOM_LOG_LEVEL=loud", "ECOM_NO_SUCH=1", "BACKEND=floppy",
		},
		"ecom-gateway": {"HTTP_ADDR=nowhere", "GATEWAY_ADMIN_ADDR=:x", "TZ=Mars/Olympus", "ECOM_LOG_LEVEL=loud", "ECOM_NO_SUCH=1"},
	} {
		t.Run(program, func(t *testing.T) {
			run := stack.New(t, stack.DataDir(t), settings...).Run("", stack.Binary(t, program))
			if code := run.AwaitEnd(stack.StopWithin); code != cannotStart {
				t.Errorf("exit code %d, want %d", code, cannotStart)
			}
			for _, setting := range settings {
				if name, _, _ := strings.Cut(setting, "="); !strings.Contains(run.Output(), name) {
					t.Errorf("%s is not named in %s", name, run.Output())
				}
			}
		})
	}
}

func TestStartOfASecondServerInTheSameFolderIsRefusedAndHarmsNothing(t *testing.T) {
	t.Parallel()
	first := stack.New(t, stack.DataDir(t))
	firstRun := first.Start()
	second := stack.New(t, first.DataDir, "ECOM_LOG_FORMAT=json")
	program := second.Run("", stack.Binary(t, "ecom-server"))
	if code := program.AwaitEnd(stack.StopWithin); code != cannotStart {
		t.Errorf("exit code %d, want %d", code, cannotStart)
	}
	requireOneClearLine(t, program.Output(), first.DataDir)
	if response := send(t, first.HTTP, "POST", "/coupons/1/issue", "userId: 5"); response.Status != 200 {
		t.Errorf("the first: %d %s", response.Status, response.Body)
	}
	firstRun.Stop()
}

func TestStartThatCannotWorkEndsTheSupervisorToo(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"HTTP_ADDR", "GRPC_ADDR"} {
		t.Run(name, func(t *testing.T) {
			taken := takenAddr(t)
			s := stack.New(t, stack.DataDir(t), name+"="+taken)
			program := s.Make("run")
			if code := program.AwaitEnd(stack.ReadyWithin); code != cannotStart {
				t.Errorf("exit code %d, want %d", code, cannotStart)
			}
			if !strings.Contains(program.Output(), taken) {
				t.Errorf("%s is not named in %s", taken, program.Output())
			}
			if left := s.Processes(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestStartOnADestroyedDataFileIsRefusedAndTouchesNothing(t *testing.T) {
	t.Parallel()
	dir := stack.DataDir(t)
	stack.New(t, dir).Start().Stop()
	path := dir + "/ecom.db"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(data, strings.Repeat("x", 100))
	write(t, path, string(data))
	before := fileSums(t, dir)
	program := stack.New(t, dir, "ECOM_LOG_FORMAT=json").Run("", stack.Binary(t, "ecom-server"))
	if code := program.AwaitEnd(stack.StopWithin); code != cannotStart {
		t.Errorf("exit code %d, want %d", code, cannotStart)
	}
	requireOneClearLine(t, program.Output(), "ecom.db")
	requireUntouched(t, before, fileSums(t, dir))
}
