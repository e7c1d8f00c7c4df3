package ledger

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// RequestID is a UUID, or the mark of a text that is none.
type RequestID struct {
	bytes [16]byte
	valid bool
}

// ParseRequestID reads the 36-character lower-case form. Anything else gives an id that is not Valid.
func ParseRequestID(text string) RequestID {
	var id RequestID
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return RequestID{}
	}
	var digits [32]byte
	n := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
			digits[n] = c
			n++
		default:
			return RequestID{}
		}
	}
	if _, err := hex.Decode(id.bytes[:], digits[:]); err != nil {
		return RequestID{}
	}
	id.valid = true
	return id
}

// Valid tells whether the text was a UUID.
func (id RequestID) Valid() bool { return id.valid }

// String returns the text form; "(malformed)" when there is none.
func (id RequestID) String() string {
	if !id.valid {
		return "(malformed)"
	}
	text := hex.EncodeToString(id.bytes[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// MarshalText writes the text form.
func (id RequestID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText never fails: a malformed id in a store is a defect to report, not a reason to stop.
func (id *RequestID) UnmarshalText(text []byte) error {
	*id = ParseRequestID(string(text))
	return nil
}

// Row is one user of one coupon in a store.
type Row struct {
	User      int64     `json:"user"`
	RequestID RequestID `json:"request_id"`
}

// Gate is what the gate of one coupon holds.
type Gate struct {
	// Open tells whether it admits: whole by its own counts, and at the generation that the store
	// calls the valid one.
	Open         bool    `json:"open"`
	Stock        int64   `json:"stock"`
	Participants []int64 `json:"participants"` // users who hold or will hold a coupon
	Reservations int64   `json:"reservations"` // claims on their way
}

// Event is one "issued" notification.
type Event struct {
	User      int64     `json:"user"`
	RequestID RequestID `json:"request_id"`
	Times     int64     `json:"times"` // how often it was published
}

// CouponState is what the stores hold of one coupon after the drain; what is in one store is read in
// one consistent view. A snapshot without a gate or a feed leaves their fields out, and nothing is
// judged by them.
type CouponState struct {
	ID         int64   `json:"id"`
	Total      int64   `json:"total"`
	Available  int64   `json:"available"`
	Rows       []Row   `json:"rows"`
	Rejections []Row   `json:"rejections"`
	Gate       *Gate   `json:"gate,omitempty"`
	Events     []Event `json:"issued_events,omitzero"` // nil: no feed
}

// State is what the stores hold after the drain.
type State struct {
	Coupons []CouponState `json:"coupons"`
	// DeadLetters are all log records that could become no row, of whatever coupon.
	DeadLetters *int64 `json:"dead_letters,omitempty"`
}

// rowsMax bounds the rows, participants and events of a state together, and so the memory: 32 bytes each
// here, and a user's share in Check.
const rowsMax = 20_000_000

// ReadState reads a state. Unknown fields are passed over; a missing `coupons`, a coupon without
// id, total or available, a coupon twice, or text behind the end is an error.
func ReadState(r io.Reader) (*State, error) {
	decoder := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	state := &State{}
	rows, complete := 0, false
	err := readObject(decoder, map[string]func() error{
		"coupons": func() error {
			complete = true
			return readArray(decoder, func() error {
				coupon, err := readCoupon(decoder, &rows)
				state.Coupons = append(state.Coupons, coupon)
				return err
			})
		},
		"dead_letters": func() error { return decoder.Decode(&state.DeadLetters) },
	})
	if err != nil {
		return nil, err
	}
	if !complete {
		return nil, errors.New("no coupons")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("text behind the end of the state")
	}
	seen := map[int64]bool{}
	for _, coupon := range state.Coupons {
		if seen[coupon.ID] {
			return nil, fmt.Errorf("coupon %d stands there twice", coupon.ID)
		}
		seen[coupon.ID] = true
	}
	return state, nil
}

func readCoupon(decoder *json.Decoder, rows *int) (CouponState, error) {
	coupon := CouponState{}
	var id, total, available *int64
	// count bounds what is read, whatever it is.
	count := func() error {
		if *rows++; *rows > rowsMax {
			return fmt.Errorf("more than %d rows", rowsMax)
		}
		return nil
	}
	readRows := func(into *[]Row) func() error {
		return func() error {
			return readArray(decoder, func() error {
				var row Row
				if err := errors.Join(count(), decoder.Decode(&row)); err != nil {
					return err
				}
				if row.User <= 0 {
					return fmt.Errorf("a row of user %d", row.User)
				}
				*into = append(*into, row)
				return nil
			})
		}
	}
	err := readObject(decoder, map[string]func() error{
		"id":         func() error { return decoder.Decode(&id) },
		"total":      func() error { return decoder.Decode(&total) },
		"available":  func() error { return decoder.Decode(&available) },
		"rows":       readRows(&coupon.Rows),
		"rejections": readRows(&coupon.Rejections),
		"gate": func() (err error) {
			coupon.Gate, err = readGate(decoder, count)
			return err
		},
		"issued_events": func() error {
			coupon.Events = []Event{}
			return readArray(decoder, func() error {
				var event Event
				if err := errors.Join(count(), decoder.Decode(&event)); err != nil {
					return err
				}
				if event.User <= 0 || event.Times <= 0 {
					return fmt.Errorf("an event of user %d, %d times", event.User, event.Times)
				}
				coupon.Events = append(coupon.Events, event)
				return nil
			})
		},
	})
	if err != nil {
		return coupon, err
	}
	if id == nil || total == nil || available == nil {
		return coupon, errors.New("a coupon lacks its id, total or available")
	}
	coupon.ID, coupon.Total, coupon.Available = *id, *total, *available
	return coupon, nil
}

func readGate(decoder *json.Decoder, count func() error) (*Gate, error) {
	gate := &Gate{}
	var open *bool
	var stock, reservations *int64
	err := readObject(decoder, map[string]func() error{
		"open":         func() error { return decoder.Decode(&open) },
		"stock":        func() error { return decoder.Decode(&stock) },
		"reservations": func() error { return decoder.Decode(&reservations) },
		"participants": func() error {
			return readArray(decoder, func() error {
				var user int64
				if err := errors.Join(count(), decoder.Decode(&user)); err != nil {
					return err
				}
				if user <= 0 {
					return fmt.Errorf("participant %d", user)
				}
				gate.Participants = append(gate.Participants, user)
				return nil
			})
		},
	})
	if err != nil {
		return nil, err
	}
	if open == nil || stock == nil || reservations == nil {
		return nil, errors.New("a gate lacks open, stock or reservations")
	}
	gate.Open, gate.Stock, gate.Reservations = *open, *stock, *reservations
	return gate, nil
}

func readObject(decoder *json.Decoder, fields map[string]func() error) error {
	if err := expect(decoder, json.Delim('{')); err != nil {
		return err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		read, known := fields[name.(string)]
		if !known {
			var skipped json.RawMessage
			read = func() error { return decoder.Decode(&skipped) }
		}
		if err := read(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return expect(decoder, json.Delim('}'))
}

func readArray(decoder *json.Decoder, element func() error) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	if token == nil { // null, as Go writes a slice without elements
		return nil
	}
	if token != json.Delim('[') {
		return fmt.Errorf("found %v where [ belongs", token)
	}
	for decoder.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return expect(decoder, json.Delim(']'))
}

func expect(decoder *json.Decoder, want json.Delim) error {
	token, err := decoder.Token()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("found %v where %v belongs", token, want)
	}
	return nil
}
