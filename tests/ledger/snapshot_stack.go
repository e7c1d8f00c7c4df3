package ledger

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protowire"
)

// StackAddrs tell where the stores of a running stack are, as the product's settings of the same
// names. Without a Redis or without Kafka what they hold is left out of the state.
type StackAddrs struct {
	MySQLURL     string
	RedisURL     string
	KafkaBrokers string
}

const (
	feedTopic       = "coupon-issued"
	deadLetterTopic = "coupon-issue.DLT"

	// armedPastEnd is how long after its end a coupon keeps its gate.
	armedPastEnd = 24 * time.Hour
)

// StackReader reads the state of a stack's stores, again and again: events that it has read once it
// does not read a second time. Not thread-safe.
type StackReader struct {
	db    *sql.DB
	gate  *redis.Client // nil: none
	kafka *kgo.Client   // nil: none
	admin *kadm.Client

	events map[int64]map[Event]int64 // by coupon; an event's Times are the value
	next   map[int32]int64           // what follows the events that were read, by partition
}

// OpenStack connects when it first reads.
func OpenStack(addrs StackAddrs) (*StackReader, error) {
	r := &StackReader{events: map[int64]map[Event]int64{}, next: map[int32]int64{}}
	connector, err := mysqlConnector(addrs.MySQLURL)
	if err != nil {
		return nil, err
	}
	r.db = sql.OpenDB(connector)
	if addrs.RedisURL != "" {
		options, err := redis.ParseURL(addrs.RedisURL)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.gate = redis.NewClient(options)
	}
	if addrs.KafkaBrokers != "" {
		r.kafka, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(addrs.KafkaBrokers, ",")...),
			kgo.ConsumeTopics(feedTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.admin = kadm.NewClient(r.kafka)
	}
	return r, nil
}

// mysqlConnector reads mysql://USER:PASSWORD@HOST:PORT/DATABASE.
func mysqlConnector(text string) (driver.Connector, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	config := mysql.NewConfig()
	config.Net = "tcp"
	config.Addr = net.JoinHostPort(parsed.Hostname(), cmp.Or(parsed.Port(), "3306"))
	config.User = parsed.User.Username()
	config.Passwd, _ = parsed.User.Password()
	config.DBName = strings.TrimPrefix(parsed.Path, "/")
	config.ParseTime = true
	config.Logger = &mysql.NopLogger{} // what goes wrong is returned
	if parsed.Scheme != "mysql" || config.DBName == "" {
		return nil, errors.New("not mysql://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	return mysql.NewConnector(config)
}

// Close lets go of all connections.
func (r *StackReader) Close() error {
	if r.kafka != nil {
		r.kafka.Close()
	}
	var gateErr error
	if r.gate != nil {
		gateErr = r.gate.Close()
	}
	return errors.Join(gateErr, r.db.Close())
}

// SnapshotStack writes the state of a stack's stores as ReadState reads it; of all coupons, or of
// those that are named.
func SnapshotStack(ctx context.Context, addrs StackAddrs, w io.Writer, coupons ...int64) error {
	reader, err := OpenStack(addrs)
	if err != nil {
		return err
	}
	state, err := reader.Read(ctx, coupons...)
	if err := errors.Join(err, reader.Close()); err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(w, 1<<16)
	if err := json.NewEncoder(buffered).Encode(state); err != nil {
		return err
	}
	return buffered.Flush()
}

// Read reads the state of all coupons, or of those that are named. Nothing is locked or changed.
func (r *StackReader) Read(ctx context.Context, coupons ...int64) (*State, error) {
	rows, err := r.readRows(ctx, coupons)
	if err != nil {
		return nil, fmt.Errorf("MySQL: %w", err)
	}
	state := &State{Coupons: []CouponState{}}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		coupon := rows[id]
		if r.gate != nil {
			if coupon.Gate, err = r.readGate(ctx, coupon); err != nil {
				return nil, fmt.Errorf("Redis, coupon %d: %w", id, err)
			}
		}
		state.Coupons = append(state.Coupons, coupon.CouponState)
	}
	if r.kafka == nil {
		return state, nil
	}
	if err := r.readEvents(ctx); err != nil {
		return nil, fmt.Errorf("Kafka, %s: %w", feedTopic, err)
	}
	for i := range state.Coupons {
		coupon := &state.Coupons[i]
		coupon.Events = []Event{}
		for event, times := range r.events[coupon.ID] {
			event.Times = times
			coupon.Events = append(coupon.Events, event)
		}
	}
	letters, err := r.countDeadLetters(ctx)
	if err != nil {
		return nil, fmt.Errorf("Kafka, %s: %w", deadLetterTopic, err)
	}
	state.DeadLetters = &letters
	return state, nil
}

type storedCoupon struct {
	CouponState
	generation int64
	armed      bool // whether its gate must be there now
}

// readRows reads everything in one transaction, so in one consistent view.
func (r *StackReader) readRows(ctx context.Context, wanted []int64) (found map[int64]*storedCoupon, err error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	where, arguments := "", []any{}
	if len(wanted) > 0 {
		where = "WHERE %s IN (?" + strings.Repeat(", ?", len(wanted)-1) + ")"
		for _, id := range wanted {
			arguments = append(arguments, id)
		}
	}
	found = map[int64]*storedCoupon{}
	of := func(id int64) *storedCoupon {
		coupon, known := found[id]
		if !known { // a coupon of nothing, so that whatever it has is found to be too much
			coupon = &storedCoupon{CouponState: CouponState{ID: id, Rows: []Row{}, Rejections: []Row{}}}
			found[id] = coupon
		}
		return coupon
	}
	err = query(ctx, tx, "SELECT id, total_quantity, available_quantity, gate_generation, starts_at, ends_at, UTC_TIMESTAMP(6)"+
		" FROM coupons "+strings.ReplaceAll(where, "%s", "id"), arguments, func(rows *sql.Rows) error {
		var id, total, available, generation int64
		var startsAt, endsAt, now time.Time
		if err := rows.Scan(&id, &total, &available, &generation, &startsAt, &endsAt, &now); err != nil {
			return err
		}
		coupon := of(id)
		coupon.Total, coupon.Available, coupon.generation = total, available, generation
		coupon.armed = !now.Before(startsAt) && now.Before(endsAt.Add(armedPastEnd))
		return nil
	})
	if err != nil {
		return nil, err
	}
	count := 0
	for _, table := range []string{"coupon_issues", "coupon_rejections"} {
		err := query(ctx, tx, "SELECT coupon_id, user_id, request_id FROM "+table+" "+
			strings.ReplaceAll(where, "%s", "coupon_id"), arguments, func(rows *sql.Rows) error {
			var id int64
			var row Row
			var request string
			if err := rows.Scan(&id, &row.User, &request); err != nil {
				return err
			}
			if count++; count > rowsMax {
				return fmt.Errorf("more than %d rows", rowsMax)
			}
			row.RequestID = ParseRequestID(request)
			coupon := of(id)
			if table == "coupon_issues" {
				coupon.Rows = append(coupon.Rows, row)
			} else {
				coupon.Rejections = append(coupon.Rejections, row)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func query(ctx context.Context, tx *sql.Tx, text string, arguments []any, visit func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, text, arguments...)
	if err != nil {
		return err
	}
	for err == nil && rows.Next() {
		err = visit(rows)
	}
	return errors.Join(err, rows.Close(), rows.Err())
}

// readGate reads the gate's keys at one moment; nil where there is none and need not be one.
func (r *StackReader) readGate(ctx context.Context, coupon *storedCoupon) (*Gate, error) {
	key := func(what string) string { return "coupon:issue:async:" + what + ":" + strconv.FormatInt(coupon.ID, 10) }
	var stock *redis.StringCmd
	var participants *redis.StringSliceCmd
	var reservations *redis.IntCmd
	var meta *redis.MapStringStringCmd
	commands, err := r.gate.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		stock = tx.Get(ctx, key("stock"))
		participants = tx.SMembers(ctx, key("participants"))
		reservations = tx.HLen(ctx, key("reservations"))
		meta = tx.HGetAll(ctx, key("meta"))
		return nil
	})
	whole := true
	for _, command := range commands {
		switch err := command.Err(); {
		case errors.Is(err, redis.Nil):
		case err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"):
			whole = false // somebody has put something else there
		case err != nil:
			return nil, err
		}
	}
	if err != nil && whole && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	if !coupon.armed && len(meta.Val()) == 0 && len(participants.Val()) == 0 && stock.Err() == redis.Nil {
		return nil, nil
	}
	gate := &Gate{Participants: make([]int64, 0, len(participants.Val())), Reservations: reservations.Val()}
	for _, text := range participants.Val() {
		user, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("participants: %w", err)
		}
		gate.Participants = append(gate.Participants, user)
	}
	var stockErr error
	if gate.Stock, stockErr = strconv.ParseInt(stock.Val(), 10, 64); stockErr != nil {
		whole, gate.Stock = false, -1
	}
	noted := meta.Val()
	gate.Open = whole && noted["open"] == "1" &&
		noted["generation"] == strconv.FormatInt(coupon.generation, 10) &&
		noted["units"] == strconv.FormatInt(gate.Stock+int64(len(gate.Participants)), 10) &&
		noted["reservations"] == strconv.FormatInt(gate.Reservations, 10)
	return gate, nil
}

// readEvents reads on to what is the end now.
func (r *StackReader) readEvents(ctx context.Context) error {
	starts, ends, err := r.offsets(ctx, feedTopic)
	if err != nil {
		return err
	}
	behind := func() bool {
		for partition, end := range ends {
			if max(r.next[partition], starts[partition].Offset) < end.Offset {
				return true
			}
		}
		return false
	}
	for behind() {
		fetches := r.kafka.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for records := fetches.RecordIter(); !records.Done(); {
			record := records.Next()
			if err := r.addEvent(record); err != nil {
				return fmt.Errorf("partition %d, offset %d: %w", record.Partition, record.Offset, err)
			}
			r.next[record.Partition] = record.Offset + 1
		}
	}
	return nil
}

func (r *StackReader) addEvent(record *kgo.Record) error {
	user, err := strconv.ParseInt(string(record.Key), 10, 64)
	if err != nil || user <= 0 {
		return fmt.Errorf("the key %q is no user", record.Key)
	}
	at := slices.IndexFunc(record.Headers, func(h kgo.RecordHeader) bool { return h.Key == "request-id" })
	if at < 0 {
		return errors.New("no request-id header")
	}
	coupon, err := couponOf(record.Value)
	if err != nil {
		return err
	}
	if r.events[coupon] == nil {
		r.events[coupon] = map[Event]int64{}
	}
	r.events[coupon][Event{User: user, RequestID: ParseRequestID(string(record.Headers[at].Value))}]++
	return nil
}

// couponOf reads field 2, the coupon's id, of an ecom.event.v1.CouponIssued.
func couponOf(message []byte) (int64, error) {
	for len(message) > 0 {
		number, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return 0, protowire.ParseError(length)
		}
		message = message[length:]
		if number == 2 && kind == protowire.VarintType {
			id, length := protowire.ConsumeVarint(message)
			return int64(id), protowire.ParseError(min(length, 0))
		}
		if length = protowire.ConsumeFieldValue(number, kind, message); length < 0 {
			return 0, protowire.ParseError(length)
		}
		message = message[length:]
	}
	return 0, errors.New("no coupon id")
}

func (r *StackReader) countDeadLetters(ctx context.Context) (int64, error) {
	starts, ends, err := r.offsets(ctx, deadLetterTopic)
	count := int64(0)
	for partition, end := range ends {
		count += end.Offset - starts[partition].Offset
	}
	return count, err
}

// offsets lists where a topic's partitions begin and end.
func (r *StackReader) offsets(ctx context.Context, topic string) (starts, ends map[int32]kadm.ListedOffset, err error) {
	first, err := r.admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, nil, err
	}
	last, err := r.admin.ListEndOffsets(ctx, topic)
	if err := errors.Join(err, first.Error(), last.Error()); err != nil {
		return nil, nil, err
	}
	return first[topic], last[topic], nil
}
