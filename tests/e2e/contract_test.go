package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"ecom/tests/cases"
	"ecom/tests/stack"
)

// transports are the ways in which calls travel from gateway to server: each its own, or by lane.
var transports = []string{"ECOM_LANES=0", "ECOM_LANES=2"}

func TestContractHoldsForEveryCaseOfOurOwn(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := stack.New(t, stack.DataDir(t), transport)
			s.Start()
			cases.Run(t, s.HTTP)
		})
	}
}

func TestContractHoldsForTheSharedCases(t *testing.T) {
	t.Parallel()
	check := cases.Shared(t)
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
