// The ledger command judges load, crash and soak runs:
//
//	ledger check --journal FILE [--journal FILE]... --state FILE [-o text|json] [--users-max N]
//	ledger snapshot embedded --data-dir DIR
//	ledger snapshot stack --mysql-url URL [--redis-url URL] [--kafka-brokers LIST] [--coupon ID]...
//
// --config FILE names a file of the server's settings instead of --mysql-url, so that its password is not seen.
//
// It exits with 0 when every invariant holds, 1 when one is broken, 2 when it cannot judge.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"ecom/tests/ledger"
)

const (
	exitPass   = 0
	exitFail   = 1
	exitUnable = 2
)

const usage = `usage:
  ledger check --journal FILE [--journal FILE]... --state FILE [-o text|json] [--users-max N]
  ledger snapshot embedded --data-dir DIR
  ledger snapshot stack --mysql-url URL|--config FILE [--redis-url URL] [--kafka-brokers LIST] [--coupon ID]...
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	code, err := dispatch(ctx, args, stdout)
	if err == nil {
		return code
	}
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return exitPass
	}
	fmt.Fprintf(stderr, "ledger: %v\n", err)
	return exitUnable
}

func dispatch(ctx context.Context, args []string, stdout io.Writer) (int, error) {
	if len(args) >= 1 && args[0] == "check" {
		return check(args[1:], stdout)
	}
	if len(args) >= 2 && args[0] == "snapshot" && args[1] == "embedded" {
		return exitPass, snapshotEmbedded(ctx, args[2:], stdout)
	}
	if len(args) >= 2 && args[0] == "snapshot" && args[1] == "stack" {
		return exitPass, snapshotStack(ctx, args[2:], stdout)
	}
	if len(args) >= 1 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help") {
		return exitPass, flag.ErrHelp
	}
	return exitUnable, fmt.Errorf("unknown command\n%s", usage)
}

func check(args []string, stdout io.Writer) (code int, err error) {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var paths []string
	flags.Func("journal", "", func(path string) error { paths = append(paths, path); return nil })
	statePath := flags.String("state", "", "")
	output := flags.String("o", "text", "")
	usersMax := flags.Int("users-max", 0, "")
	if err := flags.Parse(args); err != nil {
		return exitUnable, err
	}
	if len(paths) == 0 || *statePath == "" || flags.NArg() > 0 || (*output != "text" && *output != "json") {
		return exitUnable, fmt.Errorf("check needs its files\n%s", usage)
	}

	state, err := readState(*statePath)
	if err != nil {
		return exitUnable, fmt.Errorf("%s: %w", *statePath, err)
	}
	var journals []io.Reader
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return exitUnable, err
		}
		defer file.Close()
		journals = append(journals, file)
	}
	report, err := ledger.Check(journals, state, ledger.Options{UsersListedMax: *usersMax})
	if err != nil {
		return exitUnable, err
	}
	if err := write(report, *output, stdout); err != nil {
		return exitUnable, err
	}
	if !report.OK {
		return exitFail, nil
	}
	return exitPass, nil
}

func readState(path string) (*ledger.State, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return ledger.ReadState(file)
}

func write(report *ledger.Report, output string, stdout io.Writer) error {
	if output == "text" {
		return report.WriteText(stdout)
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

func snapshotEmbedded(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("snapshot embedded", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dataDir := flags.String("data-dir", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dataDir == "" || flags.NArg() > 0 {
		return fmt.Errorf("snapshot needs a data folder\n%s", usage)
	}
	return ledger.SnapshotEmbedded(ctx, *dataDir, stdout)
}

func snapshotStack(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("snapshot stack", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var addrs ledger.StackAddrs
	var coupons []int64
	flags.StringVar(&addrs.MySQLURL, "mysql-url", "", "")
	flags.Func("config", "", func(path string) (err error) { addrs.MySQLURL, err = readMySQLURL(path); return err })
	flags.StringVar(&addrs.RedisURL, "redis-url", "", "")
	flags.StringVar(&addrs.KafkaBrokers, "kafka-brokers", "", "")
	flags.Func("coupon", "", func(text string) error {
		id, err := strconv.ParseInt(text, 10, 64)
		coupons = append(coupons, id)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if addrs.MySQLURL == "" || flags.NArg() > 0 {
		return fmt.Errorf("snapshot needs a MySQL\n%s", usage)
	}
	return ledger.SnapshotStack(ctx, addrs, stdout, coupons...)
}

// readMySQLURL reads MYSQL_URL of a file of the server's settings.
func readMySQLURL(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, "="); strings.TrimSpace(name) == "MYSQL_URL" {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s: no MYSQL_URL", path)
}
