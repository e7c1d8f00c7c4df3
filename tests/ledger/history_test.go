package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// run is a made-up campaign of one coupon: what an honest system would have answered and stored.
type run struct {
	random  *rand.Rand
	journal []Entry
	state   CouponState
	now     int64
	next    int64 // the next user nobody has used

	// Users by what became of them, for a test to pick its victims from.
	promisedKeyed []Entry // the promise; no other request of that user was refused
	landed        []int64 // one keyless indeterminate request, and a row
	vanished      []int64 // one indeterminate request, and no row
}

const coupon = 7

// newRun plays a campaign of a few thousand requests; soldOut decides whether it ends sold out.
func newRun(seed uint64, soldOut bool) *run {
	r := &run{random: rand.New(rand.NewPCG(seed, 0)), next: 1, state: CouponState{ID: coupon}}
	for range 1200 + r.random.IntN(800) {
		scenarios[r.random.IntN(len(scenarios))](r, r.user())
	}
	r.state.Total = int64(len(r.state.Rows))
	if !soldOut {
		r.state.Total += 1000
		r.state.Available = 1000
		return r
	}
	for range 500 {
		r.answer(r.user(), r.key(), SoldOut, RequestID{})
	}
	return r
}

var scenarios = []func(*run, int64){
	func(r *run, user int64) {
		key, id := r.key(), r.id()
		r.row(user, id)
		for range 1 + r.random.IntN(3) {
			r.answer(user, key, Queued, id)
		}
		r.promisedKeyed = append(r.promisedKeyed, r.journal[len(r.journal)-1])
	},
	func(r *run, user int64) {
		id := r.id()
		r.row(user, id)
		r.answer(user, "", Queued, id)
		r.answer(user, "", Duplicate, RequestID{})
		r.answer(user, r.key(), Duplicate, RequestID{})
	},
	func(r *run, user int64) { // a retry finds what was perhaps done
		key, id := r.key(), r.id()
		r.row(user, id)
		r.answer(user, key, r.pick(Unknown, Unavailable), RequestID{})
		r.answer(user, key, Queued, id)
		r.answer(user, r.key(), Duplicate, RequestID{})
	},
	func(r *run, user int64) {
		r.row(user, r.id())
		r.answer(user, "", r.pick(Unknown, Unavailable), RequestID{})
		r.landed = append(r.landed, user)
	},
	func(r *run, user int64) {
		r.row(user, r.id())
		r.answer(user, "", Unknown, RequestID{})
		r.answer(user, "", Duplicate, RequestID{})
	},
	func(r *run, user int64) {
		r.answer(user, r.key(), r.pick(Unknown, Unavailable), RequestID{})
		r.vanished = append(r.vanished, user)
	},
	func(r *run, user int64) {
		r.answer(user, r.key(), r.pick(NotSent, Invalid, RateLimited, NotOpen), RequestID{})
	},
	func(r *run, user int64) { // nobody has looked whether there is such a coupon, or there is none
		r.answer(user, r.key(), r.pick(NotSent, Invalid, RateLimited, NotFound), RequestID{})
		r.journal[len(r.journal)-1].Coupon = 404
	},
	func(r *run, user int64) { // two at once with one key: one came too early, before the coupon opened
		key, id := r.key(), r.id()
		r.row(user, id)
		r.answer(user, key, Queued, id)
		twin := r.journal[len(r.journal)-1]
		twin.Answer, twin.RequestID, twin.DoneNs = NotOpen, "", twin.DoneNs+50
		r.journal = append(r.journal, twin)
	},
}

// settle adds a gate and a feed that say what the rows say.
func (r *run) settle() {
	gate := &Gate{Open: true, Stock: r.state.Available}
	r.state.Events = []Event{}
	for _, row := range r.state.Rows {
		gate.Participants = append(gate.Participants, row.User)
		times := 1 + r.random.Int64N(3)/2 // at least once
		r.state.Events = append(r.state.Events, Event{User: row.User, RequestID: row.RequestID, Times: times})
	}
	r.random.Shuffle(len(gate.Participants), func(i, j int) {
		gate.Participants[i], gate.Participants[j] = gate.Participants[j], gate.Participants[i]
	})
	r.state.Gate = gate
}

func (r *run) user() int64 { r.next++; return r.next }

func (r *run) key() string { return fmt.Sprintf("key-%x", r.random.Uint64()) }

func (r *run) id() RequestID {
	id := RequestID{valid: true}
	for i := range id.bytes {
		id.bytes[i] = byte(r.random.Uint32())
	}
	return id
}

func (r *run) pick(answers ...Answer) Answer { return answers[r.random.IntN(len(answers))] }

func (r *run) row(user int64, id RequestID) {
	r.state.Rows = append(r.state.Rows, Row{User: user, RequestID: id})
}

func (r *run) answer(user int64, key string, answer Answer, id RequestID) {
	entry := Entry{InvokeNs: r.now + 1, DoneNs: r.now + 1 + r.random.Int64N(100), User: user, Key: key,
		Coupon: coupon, Answer: answer}
	if id.valid {
		entry.RequestID = id.String()
	}
	r.now = entry.DoneNs
	r.journal = append(r.journal, entry)
}

// victims picks 1 to 300 of the users, without repeating one.
func victims[T any](r *run, users []T) []T {
	r.random.Shuffle(len(users), func(i, j int) { users[i], users[j] = users[j], users[i] })
	return users[:1+r.random.IntN(min(300, len(users)))]
}

// strangers are users who are in no journal and no store.
func (r *run) strangers() []int64 {
	users := make([]int64, 1+r.random.IntN(300))
	for i := range users {
		users[i] = r.user()
	}
	return users
}

func (r *run) dropRow(user int64) {
	for i, row := range r.state.Rows {
		if row.User == user {
			r.state.Rows = append(r.state.Rows[:i], r.state.Rows[i+1:]...)
			r.state.Available++
			return
		}
	}
	panic("no row to drop")
}

func (r *run) rowOf(user int64) *Row {
	for i := range r.state.Rows {
		if r.state.Rows[i].User == user {
			return &r.state.Rows[i]
		}
	}
	panic("no row")
}

// check writes everything as files would hold it, the journal's lines in any order, and judges it.
func (r *run) check(t *testing.T) *Report {
	t.Helper()
	r.random.Shuffle(len(r.journal), func(i, j int) {
		r.journal[i], r.journal[j] = r.journal[j], r.journal[i]
	})
	var journal, text bytes.Buffer
	encoder := json.NewEncoder(&journal)
	for i := range r.journal {
		if err := encoder.Encode(&r.journal[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.NewEncoder(&text).Encode(State{Coupons: []CouponState{r.state}}); err != nil {
		t.Fatal(err)
	}
	state, err := ReadState(&text)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Check([]io.Reader{&journal}, state, Options{UsersListedMax: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return report
}
