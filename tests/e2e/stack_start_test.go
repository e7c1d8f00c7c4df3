package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver behind database/sql
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"ecom/tests/stack"
)

// exitConfig is what a server ends with that can't start as configured.
const exitConfig = 78

func TestStackStartIsRefusedWithALineThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := stack.NewReal(t, stack.DataDir(t))
	s.Up()
	db, gate, topics := openStores(t, s)
	ctx := t.Context()
	program := s.Start() // makes the tables
	program.Stop()

	execute := func(statement string) func() error {
		return func() error { _, err := db.ExecContext(ctx, statement); return err }
	}
	refusals := []struct {
		name         string
		break_, mend func() error
		says         []string
	}{
		{"Redis evicts",
			func() error { return gate.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err() },
			func() error { return gate.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err() },
			[]string{"REDIS_URL", "allkeys-lru", "set maxmemory-policy noeviction"}},
		{"the schema is newer",
			execute("INSERT INTO schema_version VALUES (999, NOW(6))"),
			execute("DELETE FROM schema_version WHERE version = 999"),
			[]string{"schema version 999", "start a newer one"}},
		{"a table is missing",
			execute("RENAME TABLE coupon_issues TO hidden"),
			execute("RENAME TABLE hidden TO coupon_issues"),
			[]string{"lacks the table coupon_issues", "restore it"}},
		{"a topic has too few partitions",
			func() error { return remake(ctx, topics, 1) },
			func() error { return remake(ctx, topics, 3) },
			[]string{"coupon-issue", "partition"}},
	}
	for _, refusal := range refusals {
		if err := refusal.break_(); err != nil {
			t.Fatalf("%s: %v", refusal.name, err)
		}
		program := s.Make("run")
		if code := program.AwaitEnd(stack.ReadyWithin); code != exitConfig {
			t.Errorf("%s: exit code %d, want %d", refusal.name, code, exitConfig)
		}
		line := lineWith(program.Output(), "cannot start")
		for _, said := range refusal.says {
			if !strings.Contains(line, said) {
				t.Errorf("%s: %q does not say %q", refusal.name, line, said)
			}
		}
		if err := refusal.mend(); err != nil {
			t.Fatalf("%s: %v", refusal.name, err)
		}
	}
}

func TestStackStartWaitsForWhatIsDownAndAnswersCM503Meanwhile(t *testing.T) {
	t.Parallel()
	for _, down := range []string{"mysql", "redis", "kafka"} {
		t.Run(down, func(t *testing.T) {
			s := stack.NewReal(t, stack.DataDir(t))
			s.Up()
			s.Start().Stop() // the tables and the sample data are there
			s.Kill(down)
			program := s.Make("run")
			if !stack.Until(stack.ReadyWithin, func() bool { return strings.Contains(program.Output(), "waiting for a dependency") }) {
				t.Fatal("does not say that it waits")
			}
			asked := time.Now()
			response := send(t, s.HTTP, "POST", "/coupons/1/issue", "userId: 1")
			requireUnavailable(t, response)
			if took := time.Since(asked); took > 3*time.Second {
				t.Errorf("answered after %v, past the deadline", took)
			}
			s.Up(down)
			s.AwaitReady(program)
			if response := send(t, s.HTTP, "POST", "/coupons/1/issue", "userId: 1"); response.Status != 200 {
				t.Errorf("%d %s after it came up", response.Status, response.Body)
			}
			program.Stop()
		})
	}
}

func openStores(t *testing.T, s *stack.Stack) (*sql.DB, *redis.Client, *kadm.Client) {
	t.Helper()
	where, err := url.Parse(s.MySQLURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := where.User.Password()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", where.User.Username(), password, where.Host, where.Path))
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	gate := redis.NewClient(options)
	kafka, err := kgo.NewClient(kgo.SeedBrokers(s.KafkaBrokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(); _ = gate.Close(); kafka.Close() })
	return db, gate, kadm.NewClient(kafka)
}

// remake makes the claim log's topic anew; Kafka deletes in the background.
func remake(ctx context.Context, topics *kadm.Client, partitions int32) error {
	if _, err := topics.DeleteTopics(ctx, "coupon-issue"); err != nil {
		return err
	}
	var err error
	made := stack.Until(stack.RestartWithin, func() bool {
		var answer kadm.CreateTopicResponse
		answer, err = topics.CreateTopic(ctx, partitions, 1, nil, "coupon-issue")
		return err == nil && answer.Err == nil
	})
	if !made {
		return fmt.Errorf("the topic is not made anew: %w", err)
	}
	return nil
}

func lineWith(output, part string) string {
	for line := range strings.Lines(output) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}
