package ledger

import (
	"fmt"
	"hash/maphash"
	"io"
	"slices"
)

// Options of Check.
type Options struct {
	// UsersListedMax bounds the users that each defect names; their number is exact all the same.
	// 0: 20, what fits a screen.
	UsersListedMax int
}

// Check reads the journals and judges the run. An error means that a journal is unreadable, which
// is no verdict; every verdict, good or bad, is in the Report.
//
// Cost: one pass over the journals. Memory grows with the users, about 400 bytes each with the
// state's rows, and by 24 bytes for each refusal of a request that had a key.
func Check(journals []io.Reader, state *State, options Options) (*Report, error) {
	if options.UsersListedMax == 0 {
		options.UsersListedMax = 20
	}
	f := newFacts(state)
	for i, journal := range journals {
		if err := ReadJournal(journal, f.add); err != nil {
			return nil, fmt.Errorf("journal %d: %w", i+1, err)
		}
	}
	f.closeJournal()
	report := &Report{
		Requests: f.requests, Answers: map[string]int{}, Coupons: []CouponTotals{}, Defects: []Defect{},
		usersListedMax: options.UsersListedMax,
	}
	for answer, count := range f.answers {
		if count > 0 {
			report.Answers[Answer(answer).String()] = count
		}
	}
	for _, invariant := range invariants {
		invariant(f, report)
	}
	report.finish(f)
	return report, nil
}

// invariants are judged in this order. Each adds its defects to the report, and sees nothing but
// the facts; what a further one needs of the stores comes in with CouponState.
var invariants = []func(*facts, *Report){
	acceptedSomething,
	knownCoupons,
	i1PromisedHasRow,
	i2OneRowPerPromise,
	i3WithinStock,
	i4RowWasAskedFor,
	i5SoldOutIsTrue,
	i6DuplicateHolds,
	i7NothingRejected,
	i7GateAgrees,
	i8EveryRowIsAnnounced,
	p5SameKeySameAnswer,
}

type holder struct{ coupon, user int64 }

const (
	wasPromised       = 1 << iota // answered QUEUED
	wasIndeterminate              // perhaps carried out
	wasDuplicate                  // answered CP102
	wasDuplicateKeyed             // answered CP102 to a request with a key
	hasRow
	hasRowTwice
	promisedTwice     // QUEUED again, and not because the same key was sent again
	promisedOtherID   // QUEUED again, with another request id
	promisedMalformed // QUEUED with something that is no request id
	keyBroken         // one key, and answers that contradict each other
	sentWithoutKey
	sentWithKey
	sentOtherKey // with a second key
	inGate       // a participant
	hasEvent     // of its row
	hasOtherEvent
)

// history is everything that is known of one user of one coupon.
type history struct {
	promised     RequestID // of the first QUEUED in the journal
	row          RequestID
	promisedKey  uint64 // hash of the key of that QUEUED; 0: none
	firstKey     uint64
	promisedDone int64 // the earliest end of a QUEUED with that key
	flags        uint16
}

func (h *history) is(flag uint16) bool { return h.flags&flag != 0 }

// refusal is kept until the end of the journal: a promise to the same key may stand further down.
type refusal struct {
	invokeNs int64
	key      uint64
	history  int32
}

type facts struct {
	state     *State
	seed      maphash.Seed
	index     map[holder]int32
	histories []history
	holders   []holder
	refusals  []refusal
	requests  int
	answers   [answersEnd]int
	coupons   map[int64]*couponFacts
}

type couponFacts struct {
	state         *CouponState // nil: the state does not know the coupon
	promised      int
	soldOut       int
	rowsMalformed []int64
	idsShared     []int64

	eventsRepeated int64 // beyond one each
}

// holdersMax bounds the memory of one check to about 8 GB.
const holdersMax = 20_000_000

func newFacts(state *State) *facts {
	f := &facts{
		state: state, seed: maphash.MakeSeed(), index: map[holder]int32{}, coupons: map[int64]*couponFacts{},
	}
	for i := range state.Coupons {
		coupon := &state.Coupons[i]
		f.coupons[coupon.ID] = &couponFacts{state: coupon}
		f.addRows(coupon)
		f.addGate(coupon)
		f.addEvents(coupon)
	}
	return f
}

func (f *facts) addGate(coupon *CouponState) {
	if coupon.Gate == nil {
		return
	}
	for _, user := range coupon.Gate.Participants {
		f.histories[f.find(holder{coupon.ID, user})].flags |= inGate
	}
}

// addEvents compares the events with the rows, which must be known.
func (f *facts) addEvents(coupon *CouponState) {
	c := f.coupons[coupon.ID]
	for _, event := range coupon.Events {
		h := &f.histories[f.find(holder{coupon.ID, event.User})]
		if h.is(hasRow) && h.row.valid && h.row == event.RequestID {
			h.flags |= hasEvent
		} else {
			h.flags |= hasOtherEvent
		}
		c.eventsRepeated += event.Times - 1
	}
}

func (f *facts) addRows(coupon *CouponState) {
	c := f.coupons[coupon.ID]
	type owned struct {
		id   RequestID
		user int64
	}
	owners := make([]owned, 0, len(coupon.Rows))
	for _, row := range coupon.Rows {
		h := &f.histories[f.find(holder{coupon.ID, row.User})]
		if h.is(hasRow) {
			h.flags |= hasRowTwice
			continue
		}
		h.flags |= hasRow
		h.row = row.RequestID
		if !row.RequestID.valid {
			c.rowsMalformed = append(c.rowsMalformed, row.User)
			continue
		}
		owners = append(owners, owned{row.RequestID, row.User})
	}
	slices.SortFunc(owners, func(a, b owned) int { return slices.Compare(a.id.bytes[:], b.id.bytes[:]) })
	for i, owner := range owners {
		before := i > 0 && owners[i-1].id == owner.id
		after := i+1 < len(owners) && owners[i+1].id == owner.id
		if before || after {
			c.idsShared = append(c.idsShared, owner.user)
		}
	}
}

func (f *facts) find(who holder) int32 {
	at, known := f.index[who]
	if !known {
		at = int32(len(f.histories))
		f.index[who] = at
		f.histories = append(f.histories, history{})
		f.holders = append(f.holders, who)
	}
	return at
}

func (f *facts) add(entry *Entry) error {
	if len(f.histories) >= holdersMax {
		return fmt.Errorf("more than %d users", holdersMax)
	}
	f.requests++
	f.answers[entry.Answer]++
	if entry.Answer == NotSent || entry.Answer == Invalid || entry.Answer == RateLimited || entry.Answer == NotFound {
		return nil
	}
	c := f.coupons[entry.Coupon]
	if c == nil {
		c = &couponFacts{}
		f.coupons[entry.Coupon] = c
	}
	at := f.find(holder{entry.Coupon, entry.User})
	h := &f.histories[at]
	key := f.hash(entry.Key)
	switch {
	case key == 0:
		h.flags |= sentWithoutKey
	case !h.is(sentWithKey):
		h.flags |= sentWithKey
		h.firstKey = key
	case h.firstKey != key:
		h.flags |= sentOtherKey
	}
	switch {
	case entry.Answer == Queued:
		if !h.is(wasPromised) {
			c.promised++
		}
		h.promise(entry, key)
		return nil
	case entry.Answer.Indeterminate():
		h.flags |= wasIndeterminate
		return nil
	case entry.Answer == SoldOut:
		c.soldOut++
	case entry.Answer == Duplicate:
		h.flags |= wasDuplicate
		if key != 0 {
			h.flags |= wasDuplicateKeyed
		}
	}
	if key != 0 {
		r := refusal{entry.InvokeNs, key, at}
		if entry.Answer == Duplicate {
			// Whoever owns the slot by this key is never a duplicate, not even of a concurrent twin.
			r.invokeNs = 1<<63 - 1
		}
		f.refusals = append(f.refusals, r)
	}
	return nil
}

func (h *history) promise(entry *Entry, key uint64) {
	id := ParseRequestID(entry.RequestID)
	if !id.valid {
		h.flags |= promisedMalformed
	}
	if !h.is(wasPromised) {
		h.flags |= wasPromised
		h.promised, h.promisedKey, h.promisedDone = id, key, entry.DoneNs
		return
	}
	if id != h.promised {
		h.flags |= promisedOtherID
	}
	if key == 0 || key != h.promisedKey {
		h.flags |= promisedTwice
		return
	}
	h.promisedDone = min(h.promisedDone, entry.DoneNs)
	if id != h.promised {
		h.flags |= keyBroken
	}
}

// closeJournal compares refusals with promises, wherever either stood in the journal.
func (f *facts) closeJournal() {
	for _, r := range f.refusals {
		h := &f.histories[r.history]
		if h.promisedKey == r.key && r.invokeNs > h.promisedDone {
			h.flags |= keyBroken
		}
	}
	f.refusals = nil
	for i := range f.histories {
		h := &f.histories[i]
		if h.is(wasDuplicateKeyed) && !h.is(sentWithoutKey|sentOtherKey) {
			h.flags |= keyBroken // no other request of this user exists that could hold the slot
		}
	}
}

func (f *facts) hash(key string) uint64 {
	if key == "" {
		return 0
	}
	return maphash.String(f.seed, key) | 1 // 0 means "none"
}

// users collects, by coupon, the users whose history matches.
func (f *facts) users(matches func(*history) bool) map[int64][]int64 {
	found := map[int64][]int64{}
	for i := range f.histories {
		if matches(&f.histories[i]) {
			who := f.holders[i]
			found[who.coupon] = append(found[who.coupon], who.user)
		}
	}
	return found
}

func acceptedSomething(f *facts, report *Report) {
	if f.answers[Queued] == 0 {
		report.add("I0", 0, 1, nil, "nothing was accepted at all: such a run proves nothing")
	}
}

func knownCoupons(f *facts, report *Report) {
	for id, coupon := range f.coupons {
		if coupon.state == nil {
			report.add("I0", id, 1, nil, "the journal asks for this coupon, the state does not know it")
		}
	}
}

func i1PromisedHasRow(f *facts, report *Report) {
	report.addUsers("I1", "lost: answered QUEUED, and there is no row",
		f.users(func(h *history) bool { return h.is(wasPromised) && !h.is(hasRow) }))
}

func i2OneRowPerPromise(f *facts, report *Report) {
	report.addUsers("I2", "duplicated: more than one row",
		f.users(func(h *history) bool { return h.is(hasRowTwice) }))
	report.addUsers("I2", "duplicated: answered QUEUED more than once, without sending one key again",
		f.users(func(h *history) bool { return h.is(promisedTwice) }))
	report.addUsers("I2", "answered QUEUED with a malformed request id",
		f.users(func(h *history) bool { return h.is(promisedMalformed) }))
	report.addUsers("I2", "the row has another request id than the answer",
		f.users(func(h *history) bool {
			return h.is(promisedOtherID) ||
				h.is(wasPromised) && h.is(hasRow) && h.promised.valid && h.row.valid && h.promised != h.row
		}))
	for id, coupon := range f.coupons {
		report.addUsers("I2", "the row has a malformed request id", map[int64][]int64{id: coupon.rowsMalformed})
		report.addUsers("I2", "the row shares its request id with another row",
			map[int64][]int64{id: coupon.idsShared})
	}
}

func i3WithinStock(f *facts, report *Report) {
	for _, coupon := range f.state.Coupons {
		rows := int64(len(coupon.Rows))
		if over := rows - coupon.Total; over > 0 {
			report.add("I3", coupon.ID, int(over), nil,
				fmt.Sprintf("over-issued: %d rows for a total of %d", rows, coupon.Total))
		}
		if coupon.Available != coupon.Total-rows {
			report.add("I3", coupon.ID, 1, nil, fmt.Sprintf(
				"available is %d, and total less rows is %d", coupon.Available, coupon.Total-rows))
		}
	}
}

func i4RowWasAskedFor(f *facts, report *Report) {
	report.addUsers("I4", "unasked: a row, and neither QUEUED nor an indeterminate answer",
		f.users(func(h *history) bool { return h.is(hasRow) && !h.is(wasPromised|wasIndeterminate) }))
}

func i5SoldOutIsTrue(f *facts, report *Report) {
	for id, coupon := range f.coupons {
		if coupon.state == nil || coupon.soldOut == 0 || int64(len(coupon.state.Rows)) >= coupon.state.Total {
			continue
		}
		report.add("I5", id, coupon.soldOut, nil, fmt.Sprintf(
			"answered \"sold out\" %d times, and %d rows for a total of %d", coupon.soldOut,
			len(coupon.state.Rows), coupon.state.Total))
	}
}

func i6DuplicateHolds(f *facts, report *Report) {
	report.addUsers("I6", "refused as a duplicate, and there is no row",
		f.users(func(h *history) bool { return h.is(wasDuplicate) && !h.is(hasRow) }))
}

func i7NothingRejected(f *facts, report *Report) {
	for _, coupon := range f.state.Coupons {
		rejected := make([]int64, 0, len(coupon.Rejections))
		for _, row := range coupon.Rejections {
			rejected = append(rejected, row.User)
		}
		report.addUsers("I7", "rejected by the store after the gate had admitted it",
			map[int64][]int64{coupon.ID: rejected})
	}
}

func i7GateAgrees(f *facts, report *Report) {
	for id, coupon := range f.coupons {
		if coupon.state == nil || coupon.state.Gate == nil {
			continue
		}
		gate := coupon.state.Gate
		if !gate.Open {
			report.add("I7", id, 1, nil, "the gate is not open")
		}
		if gate.Stock != coupon.state.Available {
			report.add("I7", id, 1, nil, fmt.Sprintf(
				"the gate has %d units, the store %d", gate.Stock, coupon.state.Available))
		}
		if gate.Reservations != 0 {
			report.add("I7", id, int(gate.Reservations), nil, "reservations are left in the gate")
		}
	}
	hasGate := f.couponsWith(func(c *CouponState) bool { return c.Gate != nil })
	report.addUsers("I7", "a row, and no participant of the gate",
		only(hasGate, f.users(func(h *history) bool { return h.is(hasRow) && !h.is(inGate) })))
	report.addUsers("I7", "a participant of the gate, and no row",
		f.users(func(h *history) bool { return h.is(inGate) && !h.is(hasRow) }))
}

func i8EveryRowIsAnnounced(f *facts, report *Report) {
	hasFeed := f.couponsWith(func(c *CouponState) bool { return c.Events != nil })
	report.addUsers("I8", "a row that was not announced",
		only(hasFeed, f.users(func(h *history) bool { return h.is(hasRow) && !h.is(hasEvent) })))
	report.addUsers("I8", "announced, and no such row",
		f.users(func(h *history) bool { return h.is(hasOtherEvent) }))
}

func (f *facts) couponsWith(has func(*CouponState) bool) map[int64]bool {
	found := map[int64]bool{}
	for i := range f.state.Coupons {
		if has(&f.state.Coupons[i]) {
			found[f.state.Coupons[i].ID] = true
		}
	}
	return found
}

// only keeps the users of these coupons.
func only(coupons map[int64]bool, users map[int64][]int64) map[int64][]int64 {
	for id := range users {
		if !coupons[id] {
			delete(users, id)
		}
	}
	return users
}

func p5SameKeySameAnswer(f *facts, report *Report) {
	report.addUsers("P5", "one key, and not the same QUEUED each time",
		f.users(func(h *history) bool { return h.is(keyBroken) }))
}
