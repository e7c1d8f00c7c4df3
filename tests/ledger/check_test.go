package ledger

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

const seeds = 10

func TestLedgerPassesCleanRuns(t *testing.T) {
	for seed := range uint64(30) {
		for _, soldOut := range []bool{false, true} {
			r := newRun(seed, soldOut)
			if report := r.check(t); !report.OK {
				t.Fatalf("seed %d, sold out %v: %+v", seed, soldOut, report.Defects)
			}
			r.settle()
			if report := r.check(t); !report.OK {
				t.Fatalf("seed %d, sold out %v, with gate and feed: %+v", seed, soldOut, report.Defects)
			}
		}
	}
}

// planted are the users that a defect must name, by the start of "invariant: text".
type planted map[string][]int64

func TestLedgerFindsEveryPlantedDefectAndNothingElse(t *testing.T) {
	const (
		lost        = "I1: lost"
		twoRows     = "I2: duplicated: more than one row"
		twoPromises = "I2: duplicated: answered QUEUED more than once"
		otherID     = "I2: the row has another request id"
		badAnswerID = "I2: answered QUEUED with a malformed"
		badRowID    = "I2: the row has a malformed"
		sharedID    = "I2: the row shares its request id"
		unasked     = "I4: unasked"
		noHolder    = "I6: refused as a duplicate"
		rejected    = "I7: rejected"
		brokenKey   = "P5: one key"
	)
	users := func(entries []Entry) []int64 {
		ids := make([]int64, len(entries))
		for i, entry := range entries {
			ids[i] = entry.User
		}
		return ids
	}
	later := func(r *run, promise Entry, answer Answer, id RequestID) {
		r.now += 1000
		r.answer(promise.User, promise.Key, answer, id)
	}

	for _, test := range []struct {
		name    string
		soldOut bool
		plant   func(*run) planted
	}{
		{"a promise without a row", false, func(r *run) planted {
			chosen := users(victims(r, r.promisedKeyed))
			for _, user := range chosen {
				r.dropRow(user)
			}
			return planted{lost: chosen}
		}},
		{"a second row of a user", false, func(r *run) planted {
			chosen := users(victims(r, r.promisedKeyed))
			for _, user := range chosen {
				r.row(user, r.id())
				r.state.Available--
			}
			return planted{twoRows: chosen}
		}},
		{"a second promise without a key", true, func(r *run) planted {
			chosen := users(victims(r, r.promisedKeyed))
			for _, user := range chosen {
				r.answer(user, "", Queued, r.id())
			}
			return planted{twoPromises: chosen, otherID: chosen}
		}},
		{"a second promise of the same id to another key", true, func(r *run) planted {
			chosen := users(victims(r, r.promisedKeyed))
			for _, user := range chosen {
				r.answer(user, r.key(), Queued, r.rowOf(user).RequestID)
			}
			return planted{twoPromises: chosen}
		}},
		{"a row with another request id", true, func(r *run) planted {
			chosen := users(victims(r, r.promisedKeyed))
			for _, user := range chosen {
				r.rowOf(user).RequestID = r.id()
			}
			return planted{otherID: chosen}
		}},
		{"an answer whose request id is no UUID", true, func(r *run) planted {
			chosen := victims(r, r.landed)
			for i, user := range chosen {
				r.answer(user, "", Queued, RequestID{})
				r.journal[len(r.journal)-1].RequestID = []string{
					"", "x", strings.ToUpper(r.id().String()) + "F", strings.Repeat("0", 36),
				}[i%4]
			}
			return planted{badAnswerID: chosen}
		}},
		{"a row whose request id is no UUID", true, func(r *run) planted {
			chosen := victims(r, r.landed)
			for _, user := range chosen {
				r.rowOf(user).RequestID = RequestID{}
			}
			return planted{badRowID: chosen}
		}},
		{"a request id in two rows", true, func(r *run) planted {
			chosen := victims(r, r.landed)
			if len(chosen) == 1 {
				chosen = r.landed[:2]
			}
			chosen = chosen[:len(chosen)/2*2]
			for i := 0; i < len(chosen); i += 2 {
				r.rowOf(chosen[i]).RequestID = r.rowOf(chosen[i+1]).RequestID
			}
			return planted{sharedID: chosen}
		}},
		{"a row of a user who never asked", false, func(r *run) planted {
			chosen := r.strangers()
			for _, user := range chosen {
				r.row(user, r.id())
				r.state.Available--
			}
			return planted{unasked: chosen}
		}},
		{"a row of a user who was only refused or never heard", false, func(r *run) planted {
			chosen := r.strangers()
			for _, user := range chosen {
				r.answer(user, "", r.pick(NotSent, Invalid, NotOpen, RateLimited, Duplicate), RequestID{})
				r.row(user, r.id())
				r.state.Available--
			}
			return planted{unasked: chosen}
		}},
		{"a refusal as duplicate of a user who holds nothing", false, func(r *run) planted {
			chosen := append(r.strangers(), victims(r, r.vanished)...)
			for _, user := range chosen {
				r.answer(user, "", Duplicate, RequestID{})
			}
			return planted{noHolder: chosen}
		}},
		{"a rejection", false, func(r *run) planted {
			chosen := victims(r, r.vanished)
			for _, user := range chosen {
				r.state.Rejections = append(r.state.Rejections, Row{User: user, RequestID: r.id()})
			}
			return planted{rejected: chosen}
		}},
		{"one key with two request ids", true, func(r *run) planted {
			promises := victims(r, r.promisedKeyed)
			for _, promise := range promises {
				later(r, promise, Queued, r.id())
			}
			return planted{brokenKey: users(promises), otherID: users(promises)}
		}},
		{"one key, promised and later refused", true, func(r *run) planted {
			promises := victims(r, r.promisedKeyed)
			for _, promise := range promises {
				later(r, promise, r.pick(SoldOut, NotOpen, Duplicate), RequestID{})
			}
			return planted{brokenKey: users(promises)}
		}},
		{"one key, refused between two promises", true, func(r *run) planted {
			promises := victims(r, r.promisedKeyed)
			for _, promise := range promises {
				later(r, promise, SoldOut, RequestID{})
				later(r, promise, Queued, r.rowOf(promise.User).RequestID)
			}
			return planted{brokenKey: users(promises)}
		}},
		{"one key, a duplicate while it is promised", true, func(r *run) planted {
			promises := victims(r, r.promisedKeyed)
			for _, promise := range promises {
				r.answer(promise.User, r.key(), Duplicate, RequestID{})
				twin := promise
				twin.Answer, twin.RequestID, twin.InvokeNs = Duplicate, "", promise.InvokeNs-1
				r.journal = append(r.journal, twin)
			}
			return planted{brokenKey: users(promises)}
		}},
		{"the same promise twice, without a key", true, func(r *run) planted {
			chosen := victims(r, r.landed)
			for _, user := range chosen {
				r.answer(user, "", Queued, r.rowOf(user).RequestID)
				r.answer(user, "", Queued, r.rowOf(user).RequestID)
			}
			return planted{twoPromises: chosen}
		}},
		{"a duplicate of nothing but itself", true, func(r *run) planted {
			chosen := r.strangers()
			for _, user := range chosen {
				key := r.key()
				r.answer(user, "", r.pick(NotSent, Invalid, RateLimited), RequestID{})
				r.answer(user, r.key(), r.pick(NotSent, Invalid, RateLimited), RequestID{})
				r.answer(user, key, Unknown, RequestID{})
				r.answer(user, key, Duplicate, RequestID{})
				r.row(user, r.id())
				r.state.Total++
			}
			return planted{brokenKey: chosen}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(seeds) {
				r := newRun(seed, test.soldOut)
				want := test.plant(r)
				requireDefects(t, seed, r.check(t), want)
			}
		})
	}
}

func TestLedgerFindsEveryDefectOfGateAndFeedAndNothingElse(t *testing.T) {
	const (
		unknownToGate = "I7: a row, and no participant"
		noRow         = "I7: a participant of the gate, and no row"
		unannounced   = "I8: a row that was not announced"
		strange       = "I8: announced, and no such row"
	)
	for _, test := range []struct {
		name  string
		plant func(*run) planted
	}{
		{"a row that the gate does not know", func(r *run) planted {
			chosen := victims(r, slices.Clone(r.state.Gate.Participants))
			r.state.Gate.Participants = slices.DeleteFunc(r.state.Gate.Participants,
				func(user int64) bool { return slices.Contains(chosen, user) })
			return planted{unknownToGate: chosen}
		}},
		{"a participant who never became a row", func(r *run) planted {
			chosen := append(r.strangers(), victims(r, r.vanished)...)
			r.state.Gate.Participants = append(r.state.Gate.Participants, chosen...)
			return planted{noRow: chosen}
		}},
		{"an event that was never published", func(r *run) planted {
			var chosen []int64
			for _, event := range r.state.Events[:1+r.random.IntN(300)] {
				chosen = append(chosen, event.User)
			}
			r.state.Events = r.state.Events[len(chosen):]
			return planted{unannounced: chosen}
		}},
		{"no event at all", func(r *run) planted {
			r.state.Rows = r.state.Rows[:100]
			r.journal = slices.DeleteFunc(r.journal, func(e Entry) bool { return e.Answer != SoldOut })
			r.state.Total = r.state.Available + 100
			r.state.Gate.Participants = nil
			var chosen []int64
			for _, row := range r.state.Rows {
				r.answer(row.User, "", Queued, row.RequestID)
				r.state.Gate.Participants = append(r.state.Gate.Participants, row.User)
				chosen = append(chosen, row.User)
			}
			r.state.Events = []Event{}
			return planted{unannounced: chosen}
		}},
		{"an event of somebody who has no row", func(r *run) planted {
			chosen := append(r.strangers(), victims(r, r.vanished)...)
			for _, user := range chosen {
				r.state.Events = append(r.state.Events, Event{User: user, RequestID: r.id(), Times: 1})
			}
			return planted{strange: chosen}
		}},
		{"an event of another request of the same user", func(r *run) planted {
			chosen := victims(r, slices.Clone(r.state.Gate.Participants))
			for _, user := range chosen {
				r.state.Events = append(r.state.Events, Event{User: user, RequestID: r.id(), Times: 1})
			}
			return planted{strange: chosen}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(seeds) {
				r := newRun(seed, false)
				r.settle()
				want := test.plant(r)
				requireDefects(t, seed, r.check(t), want)
			}
		})
	}
}

func requireDefects(t *testing.T, seed uint64, report *Report, want planted) {
	t.Helper()
	if report.OK {
		t.Fatalf("seed %d: passed", seed)
	}
	left := maps.Clone(want)
	for _, defect := range report.Defects {
		title := defect.Invariant + ": " + defect.Text
		found := false
		for prefix, users := range left {
			if !strings.HasPrefix(title, prefix) {
				continue
			}
			found = true
			delete(left, prefix)
			users = slices.Sorted(slices.Values(users))
			if defect.Coupon != coupon || defect.Count != len(users) || !slices.Equal(defect.Users, users) {
				t.Fatalf("seed %d: %s: coupon %d, %d users %v; planted %v",
					seed, title, defect.Coupon, defect.Count, defect.Users, users)
			}
		}
		if !found {
			t.Fatalf("seed %d: %s was not planted: users %v", seed, title, defect.Users)
		}
	}
	if len(left) > 0 {
		t.Fatalf("seed %d: not found: %v", seed, left)
	}
}

func TestLedgerCountsWhatIsWrongWithTheCouponAsAWhole(t *testing.T) {
	for _, test := range []struct {
		name    string
		soldOut bool
		plant   func(*run, int)
		want    string // the only invariant that breaks
		over    bool
	}{
		{"rows beyond the stock", true, func(r *run, n int) {
			for range n {
				user := r.user()
				r.answer(user, "", Unknown, RequestID{})
				r.row(user, r.id())
			}
		}, "I3", true},
		{"units that no row took are gone", false, func(r *run, n int) { r.state.Available -= n64(n) }, "I3", false},
		{"units too many", false, func(r *run, n int) { r.state.Available += n64(n) }, "I3", false},
		{"sold out while units are left", true, func(r *run, n int) {
			for _, user := range r.landed[:n] {
				r.dropRow(user)
			}
		}, "I5", false},
		{"sold out without ever being so", false, func(r *run, n int) {
			for range n {
				r.answer(r.user(), r.key(), SoldOut, RequestID{})
			}
		}, "I5", false},
		{"a journal of another coupon", false, func(r *run, n int) {
			for range n {
				r.answer(r.user(), "", Unknown, RequestID{})
				r.journal[len(r.journal)-1].Coupon = coupon + 1
			}
		}, "I0", false},
		{"nothing accepted", false, func(r *run, _ int) {
			r.state.Available += n64(len(r.state.Rows))
			r.state.Rows, r.journal = nil, nil
			r.answer(r.user(), "", Unavailable, RequestID{})
		}, "I0", false},
		{"a gate that is closed", true, func(r *run, _ int) { r.settle(); r.state.Gate.Open = false }, "I7", false},
		{"a gate with units too many", false, func(r *run, n int) { r.settle(); r.state.Gate.Stock += n64(n) }, "I7", false},
		{"a gate with units too few", false, func(r *run, n int) { r.settle(); r.state.Gate.Stock -= n64(n) }, "I7", false},
		{"claims still on their way", false, func(r *run, n int) { r.settle(); r.state.Gate.Reservations = n64(n) }, "I7", false},
		{"nothing asked", false, func(r *run, _ int) {
			r.state.Available += n64(len(r.state.Rows))
			r.state.Rows, r.journal = nil, nil
		}, "I0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				r := newRun(seed, test.soldOut)
				n := 1 + r.random.IntN(min(100, len(r.landed)))
				test.plant(r, n)
				report := r.check(t)
				if len(report.Defects) == 0 || report.OK {
					t.Fatalf("seed %d: passed", seed)
				}
				for _, defect := range report.Defects {
					if defect.Invariant != test.want {
						t.Fatalf("seed %d: broke %+v, want only %s", seed, defect, test.want)
					}
				}
				if test.over && report.OverIssued != n64(n) {
					t.Fatalf("seed %d: over-issued %d, planted %d", seed, report.OverIssued, n)
				}
			}
		})
	}
}

func n64(n int) int64 { return int64(n) }

func TestLedgerCountsLostDuplicatedAndOverIssuedApart(t *testing.T) {
	r := newRun(1, false)
	lost, twice := r.promisedKeyed[:3], r.promisedKeyed[3:8]
	for _, promise := range lost {
		r.dropRow(promise.User)
	}
	for _, promise := range twice {
		r.row(promise.User, r.id())
	}
	r.state.Total = n64(len(r.state.Rows)) - 11
	report := r.check(t)
	if report.Lost != 3 || report.Duplicated != 5 || report.OverIssued != 11 {
		t.Fatalf("lost %d, duplicated %d, over-issued %d; planted 3, 5, 11",
			report.Lost, report.Duplicated, report.OverIssued)
	}
}

func TestLedgerBoundsTheUsersItListsButNotTheirNumber(t *testing.T) {
	r := newRun(1, false)
	for range 500 {
		r.row(r.user(), r.id())
		r.state.Available--
	}
	state := &State{Coupons: []CouponState{r.state}}
	report, err := Check([]io.Reader{strings.NewReader("")}, state, Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(report.Defects, func(d Defect) bool { return d.Invariant == "I4" })
	if at < 0 || report.Defects[at].Count < 500 || len(report.Defects[at].Users) != 20 {
		t.Fatalf("%+v", report.Defects)
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	more := fmt.Sprintf(" and %d more\n", report.Defects[at].Count-20)
	if !strings.HasPrefix(text.String(), "ledger: FAIL: lost 0, duplicated 0, over-issued 0\n") ||
		!strings.Contains(text.String(), more) {
		t.Fatal(text.String())
	}
}

func TestLedgerShowsRepeatedEventsAndDeadLettersWithoutBlame(t *testing.T) {
	r := newRun(1, false)
	r.settle()
	for i := range r.state.Events {
		r.state.Events[i].Times = 1
	}
	r.state.Events[0].Times = 5
	letters := int64(3)
	report, err := Check([]io.Reader{strings.NewReader("")}, &State{Coupons: []CouponState{r.state}, DeadLetters: &letters}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if report.Coupons[0].EventsRepeated != 4 || !strings.Contains(text.String(), "announced again 4\n") ||
		!strings.Contains(text.String(), "dead letters: 3\n") {
		t.Fatal(text.String())
	}
	for _, defect := range report.Defects {
		if defect.Invariant == "I7" || defect.Invariant == "I8" {
			t.Errorf("%+v", defect)
		}
	}
}

func TestLedgerJudgesSeveralJournalsAsOne(t *testing.T) {
	id := "0f8fad5b-d9cb-469f-a165-70867728950e"
	first := `{"invoke_ns":1,"done_ns":2,"user":5,"key":"k","coupon":7,"answer":"UNKNOWN"}` + "\n"
	second := `{"invoke_ns":3,"done_ns":4,"user":5,"key":"k","coupon":7,"answer":"QUEUED","request_id":"` + id + `"}` + "\n"
	state := &State{Coupons: []CouponState{{ID: 7, Total: 1, Rows: []Row{{User: 5, RequestID: ParseRequestID(id)}}}}}
	report, err := Check([]io.Reader{strings.NewReader(first), strings.NewReader(second)}, state, Options{})
	if err != nil || !report.OK || report.Requests != 2 {
		t.Fatalf("%+v %v", report, err)
	}
}

func TestLedgerRefusesAnUnreadableJournal(t *testing.T) {
	good := `{"invoke_ns":1,"done_ns":2,"user":5,"coupon":7,"answer":"SOLD_OUT"}` + "\n"
	for name, text := range map[string]string{
		"cut off in a line":       good + good[:30],
		"an empty line":           good + "\n",
		"an unknown answer":       strings.Replace(good, "SOLD_OUT", "MAYBE", 1),
		"no answer":               `{"invoke_ns":1,"done_ns":2,"user":5,"coupon":7}`,
		"no user":                 `{"invoke_ns":1,"done_ns":2,"coupon":7,"answer":"QUEUED"}`,
		"no coupon":               `{"invoke_ns":1,"done_ns":2,"user":7,"answer":"QUEUED"}`,
		"an end before the start": `{"invoke_ns":3,"done_ns":2,"user":5,"coupon":7,"answer":"QUEUED"}`,
		"two values in a line":    strings.TrimSpace(good) + good,
		"no JSON":                 "hello\n",
		"an endless line":         `{"key":"` + strings.Repeat("k", 5000) + `"}`,
	} {
		if _, err := Check([]io.Reader{strings.NewReader(text)}, &State{}, Options{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLedgerRefusesAnUnreadableState(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"no coupons":      "{}",
		"cut off":         `{"coupons":[{"id":1,"total":1,"available":1,"rows":[{"user":1`,
		"no total":        `{"coupons":[{"id":1,"available":1,"rows":[],"rejections":[]}]}`,
		"a coupon twice":  `{"coupons":[{"id":1,"total":1,"available":1},{"id":1,"total":1,"available":1}]}`,
		"a row of nobody": `{"coupons":[{"id":1,"total":1,"available":0,"rows":[{"request_id":"x"}]}]}`,
		"text behind":     `{"coupons":[]} x`,
		"an array":        `[]`,
		"rows a number":   `{"coupons":[{"id":1,"total":1,"available":1,"rows":3}]}`,
		"half a gate":     `{"coupons":[{"id":1,"total":1,"available":1,"gate":{"stock":1}}]}`,
		"a nameless one":  `{"coupons":[{"id":1,"total":1,"available":1,"gate":{"open":true,"stock":1,"reservations":0,"participants":[0]}}]}`,
		"no time":         `{"coupons":[{"id":1,"total":1,"available":1,"issued_events":[{"user":1,"times":0}]}]}`,
	} {
		if _, err := ReadState(strings.NewReader(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	further := `{"taken":{"at":[1]},"coupons":[{"id":1,"total":1,"available":1,"rows":[],"rejections":[],"replicas":{"stock":1}}]}`
	if state, err := ReadState(strings.NewReader(further)); err != nil || len(state.Coupons) != 1 {
		t.Errorf("fields of later snapshots: %v", err)
	}
}
