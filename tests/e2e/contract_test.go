package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
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
	errorBody   = regexp.MustCompile(`^\{"code":"([A-Z]{2}\d{3})","message":"[^"]+"\}$`)
)

// transports are the ways in which calls travel from gateway to server: each its own, or by lane.
var transports = []string{"ECOM_LANES=0", "ECOM_LANES=2"}

func TestContractHoldsForEveryCaseOfOurOwn(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			holdsForEveryCase(t, transport)
		})
	}
}

func holdsForEveryCase(t *testing.T, setting string) {
	t.Helper()
	s := stack.New(t, stack.DataDir(t), setting)
	s.Start()
	raw, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
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
				faults = c.run(t, s.HTTP, saved)
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
	if match := errorBody.FindStringSubmatch(body); c.Error != "" && (match == nil || match[1] != c.Error) {
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

func TestContractHoldsForTheSharedCases(t *testing.T) {
	t.Parallel()
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	check := filepath.Join(root, "..", "shared", "contract", "check")
	if _, err := os.Stat(check); err != nil {
		t.Skip("there are no shared cases beside this checkout")
	}
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			s := stack.New(t, stack.DataDir(t), transport)
			s.Start()
			output, err := exec.CommandContext(t.Context(), check, "http://"+s.HTTP).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, output)
			}
			t.Logf("%s", output)
		})
	}
}

func TestContractPagesThroughEveryProductOnce(t *testing.T) {
	t.Parallel()
	s := stack.New(t, stack.DataDir(t))
	s.Start()
	for _, sort := range []string{"price", "newest", "views"} {
		for _, size := range []int{1, 7, 50, 100} {
			var ids []int
			cursor := ""
			for {
				path := "/products?sort=" + sort + "&size=" + strconv.Itoa(size)
				if cursor != "" {
					path += "&cursor=" + cursor
				}
				response := send(t, s.HTTP, http.MethodGet, path)
				var page struct {
					Items []struct {
						ID int `json:"id"`
					} `json:"items"`
					NextCursor string `json:"nextCursor"`
				}
				if err := json.Unmarshal(response.Body, &page); err != nil || response.Status != http.StatusOK {
					t.Fatalf("%s: %d %s", path, response.Status, response.Body)
				}
				for _, item := range page.Items {
					ids = append(ids, item.ID)
				}
				if cursor = page.NextCursor; cursor == "" || len(ids) > 100 {
					break
				}
			}
			// All have the same time and no views, and the price grows with the id: so all by id.
			if len(ids) != 100 || !slices.IsSorted(ids) || ids[0] != 1 || ids[99] != 100 || len(slices.Compact(ids)) != 100 {
				t.Errorf("sort %s, size %d: %v", sort, size, ids)
			}
		}
	}
}
