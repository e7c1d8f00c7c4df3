package monitoring

import (
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ecom/tests/stack"
)

// panel is one query of a dashboard's panel.
type panel struct{ dashboard, title, expr string }

func TestDashboardsAreWhatTheirSourceSays(t *testing.T) {
	command(t, files(t, "grafana/generate.py")[0], "--check")
}

func TestEachPanelShowsData(t *testing.T) {
	panels := readPanels(t)
	if len(panels) < 50 {
		t.Fatalf("the dashboards have only %d queries", len(panels))
	}
	r := newRig(t)
	missing := panels
	stack.Until(firesWithin, func() bool {
		r.readProducts()
		missing = slices.DeleteFunc(slices.Clone(missing), r.showsData)
		return len(missing) == 0
	})
	for _, p := range missing {
		t.Errorf("%s, %s: no data for %s", p.dashboard, p.title, p.expr)
	}
	r.drawDashboards(len(panels))
}

// readPanels reads every query of every dashboard.
func readPanels(t *testing.T) []panel {
	t.Helper()
	var panels []panel
	for _, path := range files(t, "grafana/dashboards/*.json") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Title  string
			Panels []struct {
				Type, Title string
				Targets     []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, p := range dashboard.Panels {
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s, %s: no query", dashboard.Title, p.Title)
			}
			for _, target := range p.Targets {
				panels = append(panels, panel{dashboard.Title, p.Title, target.Expr})
			}
		}
	}
	return panels
}

// showsData tells whether Prometheus has a number for the panel.
func (r *rig) showsData(p panel) bool {
	r.t.Helper()
	values, err := r.ask(strings.ReplaceAll(p.expr, "$__rate_interval", "10s"))
	if err != nil {
		r.t.Fatalf("%s, %s: %v: %s", p.dashboard, p.title, err, p.expr)
	}
	return slices.ContainsFunc(values, func(value string) bool { return value != "NaN" })
}

// readProducts asks for products as visitors do, and for one that does not exist.
func (r *rig) readProducts() {
	r.t.Helper()
	paths := []string{"/products?size=5", "/products/popular", "/products/100000"}
	for id := 1; id <= 20; id++ {
		paths = append(paths, fmt.Sprint("/products/", id))
	}
	for _, path := range paths {
		answer, err := http.Get("http://" + r.gateway.HTTP + path)
		if err != nil {
			r.t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body) // so that the connection is used again
		_ = answer.Body.Close()
	}
}

// drawDashboards has them drawn to build/test-logs/dashboards.png, for people to look at.
func (r *rig) drawDashboards(queries int) {
	r.t.Helper()
	root, err := stack.Root()
	if err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(root, "build", "test-logs", "dashboards.png")
	_ = os.Remove(path) // of an earlier run
	began := time.Now()
	output, err := exec.Command(filepath.Join(root, "compose", "grafana", "render.py"), path,
		"--prometheus="+r.prometheus, "--seconds=60").CombinedOutput()
	if err != nil || !strings.Contains(string(output), " 0 without data") {
		r.t.Fatalf("%v: %s", err, output)
	}
	file, err := os.Open(path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	picture, err := png.DecodeConfig(file)
	if err != nil || picture.Width < 1000 || picture.Height < 1000 {
		r.t.Errorf("%s: %v, %+v", path, err, picture)
	}
	r.t.Logf("%d queries, drawn in %v: %s", queries, time.Since(began).Round(time.Millisecond), output)
}
