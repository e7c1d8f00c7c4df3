// Package ledger judges a load, crash or soak run: it compares what the clients were answered (the
// journal) with what the stores hold after the drain (the state), and names every user that differs.
package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
)

// Answer is how one request ended, as its client saw it.
type Answer uint8

// The answers. What a client cannot tell apart from "perhaps done" is Indeterminate.
const (
	Queued      Answer = iota + 1 // 200: the promise
	Duplicate                     // CP102
	SoldOut                       // CP101
	NotOpen                       // CP105
	NotFound                      // CP103
	Invalid                       // CM400 and every other refusal of the request's form
	RateLimited                   // CM429
	Unknown                       // sent, and then a reset, a timeout, CM504 or CM500
	Unavailable                   // CM503: nothing promised, yet the slot may be kept and published later
	NotSent                       // no connection, so nobody read the request
	answersEnd
)

var answerNames = [answersEnd]string{
	Queued: "QUEUED", Duplicate: "DUPLICATE", SoldOut: "SOLD_OUT", NotOpen: "NOT_OPEN", NotFound: "NOT_FOUND",
	Invalid: "INVALID", RateLimited: "RATE_LIMITED", Unknown: "UNKNOWN", Unavailable: "UNAVAILABLE",
	NotSent: "NOT_SENT",
}

// String returns the answer's name in the journal.
func (a Answer) String() string {
	if a == 0 || a >= answersEnd {
		return "Answer(" + strconv.Itoa(int(a)) + ")"
	}
	return answerNames[a]
}

// MarshalText writes the name.
func (a Answer) MarshalText() ([]byte, error) {
	if a == 0 || a >= answersEnd {
		return nil, fmt.Errorf("no such answer: %d", a)
	}
	return []byte(answerNames[a]), nil
}

// UnmarshalText reads the name; any other text is an error.
func (a *Answer) UnmarshalText(text []byte) error {
	for i := Queued; i < answersEnd; i++ {
		if answerNames[i] == string(text) {
			*a = i
			return nil
		}
	}
	return fmt.Errorf("unknown answer %q", text)
}

// Indeterminate tells whether the request may have been carried out although nothing was promised.
func (a Answer) Indeterminate() bool { return a == Unknown || a == Unavailable }

// Entry is one request in the journal. Times are nanoseconds of any one clock.
type Entry struct {
	InvokeNs int64  `json:"invoke_ns"`
	DoneNs   int64  `json:"done_ns"`
	User     int64  `json:"user"`
	Key      string `json:"key,omitempty"` // "": sent without an Idempotency-Key
	Coupon   int64  `json:"coupon"`
	Answer   Answer `json:"answer"`
	// RequestID is the id that a QUEUED answer named, as it was received.
	RequestID string `json:"request_id,omitempty"`
}

func (e *Entry) validate() error {
	if e.User <= 0 || e.Coupon <= 0 {
		return fmt.Errorf("user %d and coupon %d must be positive", e.User, e.Coupon)
	}
	if e.Answer == 0 {
		return errors.New("no answer")
	}
	if e.DoneNs < e.InvokeNs {
		return fmt.Errorf("done_ns %d lies before invoke_ns %d", e.DoneNs, e.InvokeNs)
	}
	return nil
}

// lineBytesMax bounds one journal line: a key has at most 128 bytes and numbers 19 digits, so a
// longer line is no journal.
const lineBytesMax = 4096

// ReadJournal calls visit for every entry, in the file's order, and stops at the first error. The
// entry is only valid during the call. Errors name the line.
func ReadJournal(r io.Reader, visit func(*Entry) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, lineBytesMax), lineBytesMax)
	number := 0
	for lines.Scan() {
		number++
		var entry Entry
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := entry.validate(); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := visit(&entry); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("after line %d: %w", number, err)
	}
	return nil
}

// Journal writes entries to a file through a buffer. Thread-safe.
type Journal struct {
	mu     sync.Mutex
	file   *os.File
	buffer *bufio.Writer
	err    error
}

// CreateJournal opens a new journal; a file of that name must not exist.
func CreateJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &Journal{file: file, buffer: bufio.NewWriterSize(file, 1<<20)}, nil
}

// Add appends one entry. A write error is kept and returned by Close.
func (j *Journal) Add(entry Entry) {
	line, err := json.Marshal(&entry)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return
	}
	if err == nil {
		_, err = j.buffer.Write(append(line, '\n'))
	}
	j.err = err
}

// Close flushes and closes the file, and returns the first error of any Add. Call it once.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.err, j.buffer.Flush(), j.file.Close())
}
