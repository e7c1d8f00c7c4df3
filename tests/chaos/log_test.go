package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protowire"

	"ecom/tests/ledger"
	"ecom/tests/load"
	"ecom/tests/stack"
)

const (
	logTopic        = "coupon-issue"
	logGroup        = "coupon-issue-group"
	deadLetterTopic = "coupon-issue.DLT"
)

func itoa(number int64) string { return strconv.FormatInt(number, 10) }

func kafkaKilled(x *trial) {
	x.load(12000)
	x.progress(1000)
	x.s.Kill("kafka")
	x.await(ledger.Unavailable, 20)
	x.during(10 * time.Second)
	x.s.Up("kafka")
	x.recovered(time.Now(), gateBackWithin)
	x.settle()
	x.requireTimelyPromises()
}

func kafkaFrozen(x *trial) {
	x.load(12000)
	x.progress(1000)
	x.s.Freeze("kafka")
	x.during(10 * time.Second)
	x.s.Thaw("kafka")
	x.recovered(time.Now(), gateBackWithin)
	x.settle()
	x.requireTimelyPromises()
}

// logStutters has many callers with one key, some of whom ask while the log fails the others.
func logStutters(x *trial) {
	x.load(8000, func(o *load.Options) { o.TwinShare, o.KeylessShare, o.RetryShare = 0.6, 0, 0.9 })
	for range 4 {
		x.progress(300)
		x.s.Freeze("kafka")
		x.during(time.Second + time.Duration(x.random.Int64N(int64(2*time.Second))))
		x.s.Thaw("kafka")
		x.recovered(time.Now(), gateBackWithin)
	}
	x.settle()
	x.requireTimelyPromises()
}

// logReplayed has all partitions read again from their beginnings, the log of earlier trials included.
func logReplayed(x *trial) {
	x.load(6000)
	x.settle()
	before := x.totals()
	x.stop()

	x.resetToEarliest()
	x.start(x.rig.s)
	x.recordedUpToNow()
	x.row.Count++
	if after := x.totals(); !maps.Equal(before, after) {
		x.t.Errorf("rows and events before %v, after %v", before, after)
	}
	if report, _ := x.c.Verdict(time.Second); !report.OK {
		x.t.Errorf("the ledger does not balance any more: %+v", report.Defects)
	}
}

// resetToEarliest does what an operator does with kafka-consumer-groups.sh while no server runs.
func (x *trial) resetToEarliest() {
	x.t.Helper()
	starts, err := x.admin.ListStartOffsets(x.ctx, logTopic)
	if err != nil {
		x.t.Fatal(err)
	}
	// A member with a name of its own counts as one of the group until its session has expired.
	reset := stack.Until(answerWithin, func() bool {
		err = x.admin.CommitAllOffsets(x.ctx, logGroup, starts.Offsets())
		return err == nil
	})
	if !reset {
		x.t.Fatalf("the group's offsets are not reset: %v", err)
	}
}

// logTruncated takes records away that nobody has recorded, as a retention does that overtakes the group:
// the gate's reservations alone remember those claims. The recorders were stopped in good order before, so
// that all they have recorded is announced; for what they had in hand, only the log could tell.
func logTruncated(x *trial) {
	api := x.s.StartServer("api", "api")
	gateway := x.s.StartGateway(api)
	x.awaitReady(gateway)
	x.load(16000, func(o *load.Options) { o.Addrs = []string{x.s.HTTP, gateway.HTTP} })
	x.progress(500)
	x.stop()
	x.progress(2000)
	ends, err := x.admin.ListEndOffsets(x.ctx, logTopic)
	if err != nil {
		x.t.Fatal(err)
	}
	deleted, err := x.admin.DeleteRecords(x.ctx, ends.Offsets())
	if err := errors.Join(err, deleted.Error()); err != nil {
		x.t.Fatal(err)
	}
	x.start(x.rig.s)
	program := x.program
	if !stack.Until(answerWithin, func() bool { return strings.Contains(program.Output(), "stands still") }) {
		x.t.Fatal("no server says that its partition stands still")
	}
	x.stop()
	x.resetToEarliest() // as the message says
	x.start(x.rig.s)
	x.recordsAgain(time.Now())
	x.settle()
	if !strings.Contains(api.Output()+x.program.Output(), "reservations without a log record were appended again") {
		x.t.Error("nothing was appended again, so nothing was missing")
	}
}

// lettersRefused has no place for dead letters: the partition with the poison waits, and drops nothing.
func lettersRefused(x *trial) {
	x.load(12000)
	deleted, err := x.admin.DeleteTopics(x.ctx, deadLetterTopic)
	if err := errors.Join(err, deleted.Error()); err != nil {
		x.t.Fatal(err)
	}
	poison := &kgo.Record{Topic: logTopic, Partition: 1, Key: []byte("1"), Value: []byte("garbage without headers")}
	if err := x.kafka.ProduceSync(x.ctx, poison).FirstErr(); err != nil {
		x.t.Fatal(err)
	}
	x.row.Count++
	before := x.committed()
	x.progress(4000) // QUEUED goes on
	after := x.committed()
	if at := after[poison.Partition]; at > poison.Offset {
		x.t.Errorf("the group is at %d, past the poison at %d, which is in no dead letter", at, poison.Offset)
	}
	for partition, at := range after {
		if partition != poison.Partition && at <= before[partition] {
			x.t.Errorf("partition %d stands, too", partition)
		}
	}
	if _, err := x.admin.CreateTopic(x.ctx, 1, 1, nil, deadLetterTopic); err != nil {
		x.t.Fatal(err)
	}
	x.recordedUpToNow()
	x.settle()
	letters := x.letters(0)
	if len(letters) == 0 || header(letters[0], "origin-offset") != itoa(poison.Offset) {
		x.t.Errorf("%d dead letters, and none of the poison", len(letters))
	}
}

// committed is where the group is, by partition.
func (x *trial) committed() map[int32]int64 {
	x.t.Helper()
	offsets, err := x.admin.FetchOffsets(x.ctx, logGroup)
	if err != nil {
		x.t.Fatal(err)
	}
	committed := map[int32]int64{}
	offsets.Each(func(offset kadm.OffsetResponse) { committed[offset.Partition] = offset.At })
	return committed
}

// totals are rows and notifications of every coupon.
func (x *trial) totals() map[string]int64 {
	x.t.Helper()
	state, err := x.reader.Read(x.ctx)
	if err != nil {
		x.t.Fatal(err)
	}
	totals := map[string]int64{}
	for _, coupon := range state.Coupons {
		events := int64(0)
		for _, event := range coupon.Events {
			events += event.Times
		}
		totals[fmt.Sprintf("rows of %d", coupon.ID)] = int64(len(coupon.Rows))
		totals[fmt.Sprintf("events of %d", coupon.ID)] = events
	}
	return totals
}

// logPoisoned puts records into the log that can become no row, between those that can.
func logPoisoned(x *trial) {
	x.load(8000)
	headers := []kgo.RecordHeader{
		{Key: "content-type", Value: []byte("application/x-protobuf; proto=ecom.event.v1.ClaimLogRecord")},
		{Key: "schema-version", Value: []byte("1")},
	}
	later := slices.Clone(headers)
	later[1].Value = []byte("2")
	poison := map[string]*kgo.Record{ // by what the reason must say
		"no ClaimLogRecord": {Value: []byte("garbage \xff\xfe"), Headers: headers},
		"without a schema":  {Value: []byte("garbage without headers")},
		"bytes; at most":    {Value: make([]byte, 500_000), Headers: headers},
		"schema version: 2": {Value: claimRecord(x.coupon, 1), Headers: later},
		"no such coupon":    {Value: claimRecord(987_654_321, 1), Headers: headers},
		"another content":   {Value: []byte("{}"), Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/json")}}},
	}
	before := x.letterEnd()
	for _, name := range slices.Sorted(maps.Keys(poison)) {
		record := poison[name]
		record.Topic, record.Partition, record.Key = logTopic, int32(x.random.IntN(3)), []byte("1")
		if err := x.kafka.ProduceSync(x.ctx, record).FirstErr(); err != nil {
			x.t.Fatal(err)
		}
		x.row.Count++
		x.progress(300)
	}
	x.recordedUpToNow() // the partitions go on
	x.settle()

	letters := x.letters(before)
	if len(letters) != len(poison) {
		x.t.Errorf("%d dead letters, want %d", len(letters), len(poison))
	}
	for name, record := range poison {
		at := slices.IndexFunc(letters, func(l *kgo.Record) bool { return strings.Contains(header(l, "reason"), name) })
		if at < 0 {
			x.t.Errorf("no dead letter whose reason says %q", name)
			continue
		}
		letter := letters[at]
		if header(letter, "origin-topic") != logTopic || header(letter, "origin-partition") != itoa(int64(record.Partition)) ||
			header(letter, "origin-offset") != itoa(record.Offset) {
			x.t.Errorf("%q: it says to come from %v", name, letter.Headers)
		}
	}
}

// claimRecord is a claim as the log carries it, of an incarnation that nobody knows.
func claimRecord(coupon, user int64) []byte {
	var claim, timestamp, record []byte
	claim = protowire.AppendTag(claim, 1, protowire.BytesType)
	claim = protowire.AppendBytes(claim, binary.BigEndian.AppendUint64(make([]byte, 8), uint64(user)))
	claim = protowire.AppendTag(claim, 2, protowire.VarintType)
	claim = protowire.AppendVarint(claim, uint64(coupon))
	claim = protowire.AppendTag(claim, 3, protowire.BytesType)
	claim = protowire.AppendString(claim, "of another time")
	claim = protowire.AppendTag(claim, 4, protowire.VarintType)
	claim = protowire.AppendVarint(claim, uint64(user))
	timestamp = protowire.AppendTag(timestamp, 1, protowire.VarintType)
	timestamp = protowire.AppendVarint(timestamp, uint64(time.Now().Unix()))
	claim = protowire.AppendTag(claim, 6, protowire.BytesType)
	claim = protowire.AppendBytes(claim, timestamp)
	record = protowire.AppendTag(record, 1, protowire.BytesType)
	return protowire.AppendBytes(record, claim)
}

func header(record *kgo.Record, name string) string {
	for _, header := range record.Headers {
		if header.Key == name {
			return string(header.Value)
		}
	}
	return ""
}

// letterEnd is the end of the dead letters, which have one partition.
func (x *trial) letterEnd() int64 {
	x.t.Helper()
	ends, err := x.admin.ListEndOffsets(x.ctx, deadLetterTopic)
	if err != nil {
		x.t.Fatal(err)
	}
	end, known := ends.Lookup(deadLetterTopic, 0)
	if !known || end.Err != nil {
		x.t.Fatalf("%s: %v", deadLetterTopic, end.Err)
	}
	return end.Offset
}

// letters reads the dead letters from an offset to the end.
func (x *trial) letters(from int64) []*kgo.Record {
	x.t.Helper()
	end := x.letterEnd()
	client, err := kgo.NewClient(kgo.SeedBrokers(x.s.KafkaBrokers), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{deadLetterTopic: {0: kgo.NewOffset().At(from)}}))
	if err != nil {
		x.t.Fatal(err)
	}
	defer client.Close()
	var letters []*kgo.Record
	for int64(len(letters)) < end-from {
		fetches := client.PollFetches(x.t.Context())
		if err := fetches.Err(); err != nil {
			x.t.Fatal(err)
		}
		letters = append(letters, fetches.Records()...)
	}
	return letters
}
