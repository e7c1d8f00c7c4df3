// Package cases are requests to the REST side, and what the contract says of each answer.
package cases

import (
	_ "embed" // of the cases
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ecom/tests/stack"
	"ecom/tests/wire"
)

//go:embed cases.json
var raw []byte

// answerWithin is past every deadline of the service.
const answerWithin = 15 * time.Second

// contractCase is one request and what the contract says of its answer. In its texts, ${name} is
// what an earlier case saved, and ${x*100} a hundred times x.
type contractCase struct {
	Name    string            `json:"name"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers []string          `json:"headers"` // lines, sent as they are
	Body    string            `json:"body"`
	Status  int               `json:"status"`
	Error   string            `json:"error"` // the code; with its message it is the whole body
	Match   string            `json:"match"` // a pattern for the whole body, without a last line break
	Contain string            `json:"contains"`
	Lack    string            `json:"lacks"`
	Header  map[string]string `json:"header"`
	NoBody  bool              `json:"no_body"`
	Save    map[string]string `json:"save"`
	Within  int               `json:"within_s"` // asked again until it holds
}

// messages are the contract's. It leaves those of CM413 and CM431 open.
var messages = map[string]string{
	"CP101": "쿠폰 수량이 소진되었습니다.", "CP102": "이미 발급된 쿠폰입니다.", "CP103": "존재하지 않는 쿠폰입니다.",
	"CP104": "쿠폰 발급 요청을 찾을 수 없습니다.", "CP105": "쿠폰 발급 기간이 아닙니다.", "PD101": "상품을 찾을 수 없습니다.",
	"CM400": "잘못된 요청입니다.", "CM404": "요청하신 경로를 찾을 수 없습니다.", "CM405": "허용되지 않은 메서드입니다.",
}

var (
	placeholder = regexp.MustCompile(`\$\{(\w+)(?:\*(\d+))?\}`)
	errorBody   = regexp.MustCompile(`^\{"code":"([A-Z]{2}\d{3})","message":"[^"]+"\}\n?$`)
)

// Shared returns the program that runs the shared cases, and skips the test where they are not beside this checkout.
func Shared(t *testing.T) string {
	t.Helper()
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	check := filepath.Join(root, "..", "shared", "contract", "check")
	if _, err := os.Stat(check); err != nil {
		t.Skip("there are no shared cases beside this checkout")
	}
	return check
}

// Run checks all cases, in their order, against a gateway with sample data that nobody has used yet.
func Run(t *testing.T, addr string) {
	t.Helper()
	var cases []contractCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	saved := map[string]string{
		"uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
		"time": `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d`,
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			var faults []string
			stack.Until(time.Duration(c.Within)*time.Second, func() bool {
				faults = c.run(t, addr, saved)
				return len(faults) == 0
			})
			for _, fault := range faults {
				t.Error(fault)
			}
		})
	}
}

func (c *contractCase) run(t *testing.T, addr string, saved map[string]string) (faults []string) {
	t.Helper()
	client := wire.NewClient(addr, answerWithin)
	defer client.Close()
	headers := slices.Clone(c.Headers)
	for i := range headers {
		headers[i] = expand(headers[i], saved)
	}
	request := wire.Request(c.Method, expand(c.Path, saved), headers, expand(c.Body, saved))
	response, err := client.Do(c.Method, request)
	if err != nil {
		return []string{"no answer: " + err.Error()}
	}
	body := strings.TrimSuffix(string(response.Body), "\n")
	fault := func(what, got, want string) { faults = append(faults, what+" "+got+", want "+want) }

	if response.Status != c.Status {
		fault("status", strconv.Itoa(response.Status)+" "+body, strconv.Itoa(c.Status))
		return faults
	}
	if message, known := messages[c.Error]; known && body != `{"code":"`+c.Error+`","message":"`+message+`"}` {
		fault("body", body, c.Error+" with its message and nothing else")
	}
	if c.Error != "" && ErrorCode(body) != c.Error {
		fault("body", body, "an error "+c.Error)
	}
	if c.Match != "" && !regexp.MustCompile("(?s)"+expand(c.Match, saved)).MatchString(body) {
		fault("body", body, c.Match)
	}
	if c.Contain != "" && !strings.Contains(body, expand(c.Contain, saved)) {
		fault("body", body, "with "+expand(c.Contain, saved))
	}
	if c.Lack != "" && strings.Contains(body, expand(c.Lack, saved)) {
		fault("body", body, "without "+expand(c.Lack, saved))
	}
	if c.NoBody != (body == "") {
		fault("body", strconv.Quote(body), "one, unless it was a HEAD")
	}
	for name, pattern := range c.Header {
		got := strings.Join(response.Header.Values(name), "|")
		if !regexp.MustCompile(pattern).MatchString(got) {
			fault("header "+name, got, pattern)
		}
	}
	faults = append(faults, alwaysTrue(response)...)
	for name, pattern := range c.Save {
		match := regexp.MustCompile(pattern).FindStringSubmatch(body)
		if match == nil {
			fault("body", body, "something to save as "+name)
			continue
		}
		saved[name] = match[1]
	}
	return faults
}

// alwaysTrue checks what holds for every answer.
func alwaysTrue(response *wire.Response) (faults []string) {
	if got := response.Header.Get("Content-Type"); len(response.Body) > 0 && !strings.HasPrefix(got, "application/json") {
		faults = append(faults, "Content-Type "+got)
	}
	if len(response.Body) > 0 && !json.Valid(response.Body) {
		faults = append(faults, "no JSON: "+string(response.Body))
	}
	for name := range response.Header {
		if strings.HasPrefix(name, "Grpc-") || name == "Trailer" {
			faults = append(faults, "header "+name+" shows the inside")
		}
	}
	return faults
}

func expand(text string, saved map[string]string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		parts := placeholder.FindStringSubmatch(found)
		if parts[2] == "" {
			return saved[parts[1]]
		}
		count, err := strconv.Atoi(parts[2])
		if err != nil {
			panic(err) // the pattern only lets digits through
		}
		return strings.Repeat(parts[1], count)
	})
}

// ErrorCode returns the code of a body that is an error and nothing else; "" of any other.
func ErrorCode(body string) string {
	match := errorBody.FindStringSubmatch(body)
	if match == nil {
		return ""
	}
	return match[1]
}
