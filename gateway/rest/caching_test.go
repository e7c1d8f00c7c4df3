package rest

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	productv1 "ecom/gateway/gen/ecom/product/v1"
)

func TestAnEntityTagChangesWithAllThatIsShownButTheViews(t *testing.T) {
	seoul, err := time.LoadLocation("Asia/Seoul")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_000_000, 0)
	product := &productv1.Product{
		Id: 1, Name: "상품", PriceMinor: 1, StockQuantity: 2, ViewCount: 3,
		CreatedAt: &timestamppb.Timestamp{Seconds: 1}, UpdatedAt: &timestamppb.Timestamp{Seconds: 2},
	}
	tag := newCaching(0, time.UTC).entityTag(product, now)
	viewed := proto.CloneOf(product)
	viewed.ViewCount = 99
	if got := newCaching(0, time.UTC).entityTag(viewed, now.Add(time.Second-1)); got != tag {
		t.Errorf("%s became %s", tag, got)
	}
	for name, change := range map[string]func(*productv1.Product){
		"id":      func(p *productv1.Product) { p.Id = 2 },
		"name":    func(p *productv1.Product) { p.Name = "상" },
		"price":   func(p *productv1.Product) { p.PriceMinor = 2 },
		"stock":   func(p *productv1.Product) { p.StockQuantity = 1 },
		"active":  func(p *productv1.Product) { p.IsActive = true },
		"created": func(p *productv1.Product) { p.CreatedAt = &timestamppb.Timestamp{Seconds: 2} },
		"updated": func(p *productv1.Product) { p.UpdatedAt = &timestamppb.Timestamp{Seconds: 3} },
	} {
		changed := proto.CloneOf(product)
		change(changed)
		if newCaching(0, time.UTC).entityTag(changed, now) == tag {
			t.Errorf("%s: the tag is the same", name)
		}
	}
	if newCaching(0, seoul).entityTag(product, now) == tag {
		t.Error("zone: the tag is the same")
	}
	if newCaching(0, time.UTC).entityTag(product, now.Add(time.Second)) == tag {
		t.Error("a second later: the tag is the same")
	}
	hour := newCaching(time.Hour, time.UTC)
	start := now.Truncate(time.Hour)
	if hour.entityTag(product, start) != hour.entityTag(product, start.Add(time.Hour-1)) || hour.entityTag(product, start) == hour.entityTag(product, start.Add(time.Hour)) {
		t.Error("the tag does not last for the age that was allowed")
	}
}

func TestIfNoneMatchIsComparedWeakly(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{`W/"a"`}, true},
		{[]string{`"a"`}, true},
		{[]string{`"b",W/"a"`}, true},
		{[]string{`"b"`, "\t\"a\" "}, true},
		{[]string{`*`}, true},
		{[]string{`"b"`, `a`, `"aa"`, `w/"a"`}, false},
	} {
		if got := matches(c.lines, `W/"a"`); got != c.want {
			t.Errorf("%q: %v, want %v", c.lines, got, c.want)
		}
	}
}
