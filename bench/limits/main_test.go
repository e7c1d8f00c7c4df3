package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAnswersEveryRequestWithTheSameProduct(t *testing.T) {
	for _, request := range []*http.Request{
		httptest.NewRequest(http.MethodGet, "/products/1", nil),
		httptest.NewRequest(http.MethodPost, "/coupons/1/issue", nil),
	} {
		recorder := httptest.NewRecorder()
		answer(recorder, request)
		var got struct{ ID int64 }
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil || got.ID != 1 || recorder.Code != http.StatusOK {
			t.Errorf("%s %s: %d %s", request.Method, request.URL, recorder.Code, recorder.Body)
		}
	}
}
