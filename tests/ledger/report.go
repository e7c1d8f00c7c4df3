package ledger

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Defect is one broken invariant of one coupon.
type Defect struct {
	Invariant string `json:"invariant"`        // I1 to I10, P5; I0: the run itself proves nothing
	Coupon    int64  `json:"coupon,omitempty"` // 0: the whole run
	Text      string `json:"text"`
	Count     int    `json:"count"` // exact, however many users are listed
	// Users that differ, in ascending order, the first of them only when there are many.
	Users []int64 `json:"users,omitempty"`
}

// CouponTotals are one coupon's figures.
type CouponTotals struct {
	ID        int64 `json:"id"`
	Total     int64 `json:"total"`
	Available int64 `json:"available"`
	Rows      int   `json:"rows"`
	Promised  int   `json:"promised"` // users who were answered QUEUED
	SoldOut   int   `json:"sold_out"` // requests
	// EventsRepeated counts notifications beyond the first of each row, which are allowed.
	EventsRepeated int64 `json:"events_repeated,omitempty"`
}

// Report is a verdict.
type Report struct {
	OK         bool           `json:"ok"`
	Lost       int            `json:"lost"`        // users who were promised a coupon and have none
	Duplicated int            `json:"duplicated"`  // users with two rows, or two promises
	OverIssued int64          `json:"over_issued"` // rows beyond the stock
	Requests   int            `json:"requests"`
	Answers    map[string]int `json:"answers"` // requests by answer
	Coupons    []CouponTotals `json:"coupons"`
	Defects    []Defect       `json:"defects"`
	// DeadLetters are shown as the state has them; they are no defect of themselves.
	DeadLetters *int64 `json:"dead_letters,omitempty"`

	usersListedMax int
}

func (r *Report) add(invariant string, coupon int64, count int, users []int64, text string) {
	slices.Sort(users)
	if len(users) > r.usersListedMax {
		users = users[:r.usersListedMax]
	}
	r.Defects = append(r.Defects, Defect{
		Invariant: invariant, Coupon: coupon, Text: text, Count: count, Users: slices.Clone(users),
	})
}

func (r *Report) addUsers(invariant, text string, byCoupon map[int64][]int64) {
	for coupon, users := range byCoupon {
		if len(users) > 0 {
			r.add(invariant, coupon, len(users), users, text)
		}
	}
}

func (r *Report) finish(f *facts) {
	for id, c := range f.coupons {
		totals := CouponTotals{ID: id, Promised: c.promised, SoldOut: c.soldOut, EventsRepeated: c.eventsRepeated}
		if c.state != nil {
			totals.Total, totals.Available, totals.Rows = c.state.Total, c.state.Available, len(c.state.Rows)
			r.OverIssued += max(0, int64(totals.Rows)-totals.Total)
		}
		r.Coupons = append(r.Coupons, totals)
	}
	slices.SortFunc(r.Coupons, func(a, b CouponTotals) int { return cmp.Compare(a.ID, b.ID) })
	for i := range f.histories {
		h := &f.histories[i]
		if h.is(wasPromised) && !h.is(hasRow) {
			r.Lost++
		}
		if h.is(hasRowTwice | promisedTwice) {
			r.Duplicated++
		}
	}
	r.DeadLetters = f.state.DeadLetters
	slices.SortStableFunc(r.Defects, func(a, b Defect) int { return cmp.Compare(a.Coupon, b.Coupon) })
	r.OK = len(r.Defects) == 0
}

// WriteText writes the verdict for people.
func (r *Report) WriteText(w io.Writer) error {
	var text strings.Builder
	verdict := "PASS"
	if !r.OK {
		verdict = "FAIL"
	}
	fmt.Fprintf(&text, "ledger: %s: lost %d, duplicated %d, over-issued %d\n",
		verdict, r.Lost, r.Duplicated, r.OverIssued)
	fmt.Fprintf(&text, "%d requests:", r.Requests)
	for answer := Queued; answer < answersEnd; answer++ {
		if count := r.Answers[answer.String()]; count > 0 {
			fmt.Fprintf(&text, " %s %d", answer, count)
		}
	}
	text.WriteByte('\n')
	for _, c := range r.Coupons {
		if c.Rows+c.Promised+c.SoldOut > 0 {
			fmt.Fprintf(&text, "coupon %d: total %d, rows %d, available %d, users answered QUEUED %d",
				c.ID, c.Total, c.Rows, c.Available, c.Promised)
			if c.EventsRepeated > 0 {
				fmt.Fprintf(&text, ", announced again %d", c.EventsRepeated)
			}
			text.WriteByte('\n')
		}
	}
	if r.DeadLetters != nil && *r.DeadLetters > 0 {
		fmt.Fprintf(&text, "dead letters: %d\n", *r.DeadLetters)
	}
	for _, d := range r.Defects {
		fmt.Fprintf(&text, "%s", d.Invariant)
		if d.Coupon != 0 {
			fmt.Fprintf(&text, ", coupon %d", d.Coupon)
		}
		fmt.Fprintf(&text, ": %s: %d\n", d.Text, d.Count)
		if len(d.Users) == 0 {
			continue
		}
		fmt.Fprintf(&text, "  users %s", strings.Trim(fmt.Sprint(d.Users), "[]"))
		if more := d.Count - len(d.Users); more > 0 {
			fmt.Fprintf(&text, " and %d more", more)
		}
		text.WriteByte('\n')
	}
	_, err := io.WriteString(w, text.String())
	return err
}
