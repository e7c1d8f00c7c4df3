package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// One transaction, so one consistent view; each line starts with what it is.
const embeddedStateSQL = `
.mode list
.separator "\t"
.timeout 5000
BEGIN;
SELECT 'C', id, total_quantity, available_quantity FROM coupons ORDER BY id;
SELECT 'D', coupon_id, user_id, request_id FROM coupon_issues;
SELECT 'R', coupon_id, user_id, request_id FROM coupon_rejections;
COMMIT;
`

// SnapshotEmbedded writes the state of the embedded store in dataDir, running or not, as ReadState
// reads it. It runs the sqlite3 command, read-only: what lies in the write-ahead log is seen, and
// nothing is changed. A coupon that only has rows or rejections is written with a total of 0.
func SnapshotEmbedded(ctx context.Context, dataDir string, w io.Writer) error {
	state, err := readEmbedded(ctx, dataDir)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(w, 1<<16)
	if err := json.NewEncoder(buffered).Encode(state); err != nil {
		return err
	}
	return buffered.Flush()
}

func readEmbedded(ctx context.Context, dataDir string) (*State, error) {
	path := filepath.Join(dataDir, "ecom.db")
	if _, err := os.Stat(path); err != nil {
		return nil, err // sqlite3 would call any missing file a database that it cannot open
	}
	command := exec.CommandContext(ctx, "sqlite3", "-readonly", "-bail", path)
	command.Stdin = strings.NewReader(embeddedStateSQL)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	state, readErr := parseEmbedded(out)
	if readErr != nil {
		_, _ = io.Copy(io.Discard, out) // lets the command end
	}
	if err := command.Wait(); err != nil {
		return nil, fmt.Errorf("%s: sqlite3: %w: %s", path, err, bytes.TrimSpace(complaints.Bytes()))
	}
	if readErr != nil {
		return nil, fmt.Errorf("%s: %w", path, readErr)
	}
	return state, nil
}

func parseEmbedded(r io.Reader) (*State, error) {
	state := &State{Coupons: []CouponState{}}
	index := map[int64]int{}
	rows := 0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 4 {
			return nil, fmt.Errorf("unexpected line %q", lines.Text())
		}
		first, errFirst := strconv.ParseInt(fields[1], 10, 64)
		second, errSecond := strconv.ParseInt(fields[2], 10, 64)
		if err := errors.Join(errFirst, errSecond); err != nil {
			return nil, err
		}
		if fields[0] == "C" {
			available, err := strconv.ParseInt(fields[3], 10, 64)
			if err != nil {
				return nil, err
			}
			index[first] = len(state.Coupons)
			state.Coupons = append(state.Coupons, CouponState{
				ID: first, Total: second, Available: available, Rows: []Row{}, Rejections: []Row{},
			})
			continue
		}
		at, known := index[first]
		if !known { // a coupon of nothing, so that whatever it has is found to be too much
			at = len(state.Coupons)
			index[first] = at
			state.Coupons = append(state.Coupons, CouponState{ID: first, Rows: []Row{}, Rejections: []Row{}})
		}
		if rows++; rows > rowsMax {
			return nil, fmt.Errorf("more than %d rows", rowsMax)
		}
		row := Row{User: second, RequestID: ParseRequestID(fields[3])}
		if fields[0] == "D" {
			state.Coupons[at].Rows = append(state.Coupons[at].Rows, row)
		} else {
			state.Coupons[at].Rejections = append(state.Coupons[at].Rejections, row)
		}
	}
	return state, lines.Err()
}
