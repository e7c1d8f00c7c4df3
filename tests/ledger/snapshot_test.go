package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const schema = `
PRAGMA journal_mode=WAL;
CREATE TABLE coupons(id INTEGER PRIMARY KEY, name TEXT, total_quantity INTEGER, available_quantity INTEGER);
CREATE TABLE coupon_issues(coupon_id INTEGER, user_id INTEGER, request_id TEXT, issued_at_us INTEGER,
  PRIMARY KEY(coupon_id, user_id));
CREATE TABLE coupon_rejections(coupon_id INTEGER, user_id INTEGER, request_id TEXT, reason TEXT);
INSERT INTO coupons VALUES (1, 'a', 10, 8), (2, 'b', 5, 5);
INSERT INTO coupon_issues VALUES (1, 11, '0f8fad5b-d9cb-469f-a165-70867728950e', 0), (1, 12, 'broken', 0);
INSERT INTO coupon_rejections VALUES (2, 13, '7c9e6679-7425-40de-944b-e07fc1f90ae7', 'over');
`

func TestSnapshotReadsALiveWriteAheadLogAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	writer := openWriter(t, filepath.Join(dir, "ecom.db"))
	writer.run(t, schema)
	writer.run(t, "BEGIN IMMEDIATE; INSERT INTO coupon_issues VALUES (1, 99, 'uncommitted', 0);")

	before := contents(t, dir)
	var text bytes.Buffer
	if err := SnapshotEmbedded(t.Context(), dir, &text); err != nil {
		t.Fatal(err)
	}
	want := `{"coupons":[{"id":1,"total":10,"available":8,"rows":[` +
		`{"user":11,"request_id":"0f8fad5b-d9cb-469f-a165-70867728950e"},{"user":12,"request_id":"(malformed)"}],` +
		`"rejections":[]},{"id":2,"total":5,"available":5,"rows":[],"rejections":[` +
		`{"user":13,"request_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7"}]}]}` + "\n"
	if text.String() != want {
		t.Fatalf("\n%s want\n%s", text.String(), want)
	}
	if after := contents(t, dir); after != before {
		t.Fatalf("the folder changed:\n%s\n%s", before, after)
	}
}

func TestSnapshotReadsWhatAKilledWriterLeftInTheLog(t *testing.T) {
	dir := t.TempDir()
	writer := openWriter(t, filepath.Join(dir, "ecom.db"))
	writer.run(t, schema)
	if err := writer.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = writer.command.Wait() // killed
	state, err := readEmbedded(t.Context(), dir)
	if err != nil || len(state.Coupons) != 2 || len(state.Coupons[0].Rows) != 2 {
		t.Fatalf("%+v %v", state, err)
	}
}

func TestSnapshotRefusesAMissingForeignOrTornFile(t *testing.T) {
	for name, write := range map[string]func(path string) error{
		"missing": func(string) error { return nil },
		"foreign": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("hello ", 1000)), 0o644) },
		"empty":   func(path string) error { return os.WriteFile(path, nil, 0o644) },
	} {
		dir := t.TempDir()
		if err := write(filepath.Join(dir, "ecom.db")); err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := SnapshotEmbedded(t.Context(), dir, &text); err == nil || text.Len() > 0 {
			t.Errorf("%s: %v %s", name, err, text.String())
		}
	}
}

func TestSnapshotKeepsRowsOfACouponThatIsGone(t *testing.T) {
	state, err := parseEmbedded(strings.NewReader("D\t3\t1\t0f8fad5b-d9cb-469f-a165-70867728950e\n"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Check([]io.Reader{strings.NewReader("")}, state, Options{})
	if err != nil || report.OverIssued != 1 {
		t.Fatalf("%+v %v", report, err)
	}
}

// writer is a sqlite3 command that stays connected, as a server would.
type writer struct {
	command *exec.Cmd
	in      io.Writer
	out     *bufio.Scanner
}

func openWriter(t *testing.T, path string) *writer {
	t.Helper()
	command := exec.Command("sqlite3", "-batch", path)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return &writer{command: command, in: in, out: bufio.NewScanner(out)}
}

func (w *writer) run(t *testing.T, sql string) {
	t.Helper()
	if _, err := fmt.Fprintf(w.in, "%s\n.print done\n", sql); err != nil {
		t.Fatal(err)
	}
	for w.out.Scan() {
		if w.out.Text() == "done" {
			return
		}
	}
	t.Fatal("sqlite3 ended: ", w.out.Err())
}

// contents sums up the data file and its log; the -shm file is a scratch pad of whoever reads.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	for _, name := range []string{"ecom.db", "ecom.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s %d %x\n", name, len(data), sha256.Sum256(data))
	}
	return text.String()
}
