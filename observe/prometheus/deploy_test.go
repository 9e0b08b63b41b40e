package prometheus_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/observe/prometheus"
)

// use is a metric that an expression names, with the labels that it is asked for.
type use struct {
	metric string
	labels []string
}

var (
	selectorPattern = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?`)
	matcherPattern  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)`)
	groupPattern    = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	stringPattern   = regexp.MustCompile(`"[^"]*"`)
	rangePattern    = regexp.MustCompile(`\[[^\]]*\]`)
)

// functions are what may stand in an expression and is no metric.
func functions() []string {
	return []string{"sum", "max", "min", "avg", "count", "rate", "increase", "topk", "histogram_quantile", "label_values", "and", "or", "unless", "bool"}
}

// uses takes an expression of PromQL apart, as far as ours go. Labels that are
// grouped by count for all metrics in it.
func uses(expr string) (all []use, unknown []string) {
	var grouped []string
	for _, m := range groupPattern.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			grouped = append(grouped, strings.TrimSpace(label))
		}
	}
	rest := rangePattern.ReplaceAllString(groupPattern.ReplaceAllString(expr, ""), "")
	if strings.HasPrefix(rest, "label_values(") { // its second argument is a label
		i := strings.LastIndex(rest, ",")
		grouped = append(grouped, strings.TrimSuffix(strings.TrimSpace(rest[i+1:]), ")"))
		rest = rest[:i]
	}
	for _, m := range selectorPattern.FindAllStringSubmatch(rest, -1) {
		switch name := m[1]; {
		case slices.Contains(functions(), name):
		case strings.Contains(name, "_"):
			u := use{metric: name, labels: slices.Clone(grouped)}
			for _, label := range matcherPattern.FindAllStringSubmatch(stringPattern.ReplaceAllString(m[2], `""`), -1) {
				u.labels = append(u.labels, label[1])
			}
			all = append(all, u)
		default:
			unknown = append(unknown, name)
		}
	}
	return all, unknown
}

func TestUses(t *testing.T) {
	all, unknown := uses(`histogram_quantile(0.99, sum by (le, kind) (rate(a_b_bucket{job=~"$job|x=1",c!="d"}[5m]))) / max(e_f) > 1`)
	if len(all) != 2 || len(unknown) != 0 || all[0].metric != "a_b_bucket" || all[1].metric != "e_f" {
		t.Fatalf("%v %v", all, unknown)
	}
	if got := strings.Join(all[0].labels, " "); got != "le kind job c" {
		t.Errorf("%s", got)
	}
	if all, _ := uses(`label_values(a_b{job="x"}, instance)`); len(all) != 1 || strings.Join(all[0].labels, " ") != "instance job" {
		t.Errorf("%v", all)
	}
	if _, unknown := uses("sum(nonsense)"); len(unknown) != 1 {
		t.Errorf("%v", unknown)
	}
}

// exposed are the metrics that an expression can name, and their labels.
func exposed(families map[string]*dto.MetricFamily) map[string][]string {
	all := make(map[string][]string)
	for name, f := range families {
		labels := []string{"job", "instance"} // of the target
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
			}
		}
		if f.GetType() == dto.MetricType_HISTOGRAM {
			all[name+"_count"], all[name+"_sum"] = labels, labels
			all[name+"_bucket"] = append(slices.Clip(labels), "le")
			continue
		}
		all[name] = labels
	}
	return all
}

// check returns what an expression names that is not there, and notes what is.
func check(expr string, there map[string][]string, seen map[string]bool) (wrong []string) {
	all, unknown := uses(expr)
	for _, name := range unknown {
		wrong = append(wrong, name+" is neither a metric nor a function")
	}
	if len(all) == 0 {
		wrong = append(wrong, "it names no metric")
	}
	for _, u := range all {
		labels, ok := there[u.metric]
		if !ok {
			wrong = append(wrong, "there is no metric "+u.metric)
			continue
		}
		seen[u.metric] = true
		for _, l := range u.labels {
			if !slices.Contains(labels, l) {
				wrong = append(wrong, u.metric+" has no label "+l)
			}
		}
	}
	return wrong
}

// board is what a test wants to know of a dashboard.
type board struct {
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID      int    `json:"id"`
		Title   string `json:"title"`
		Type    string `json:"type"`
		GridPos struct{ H, W, X, Y int }
		Targets []struct {
			Expr         string `json:"expr"`
			LegendFormat string `json:"legendFormat"`
		} `json:"targets"`
	} `json:"panels"`
}

func (b *board) check(t *testing.T, file string, there map[string][]string, seen map[string]bool) {
	t.Helper()
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range b.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s: panel %d %q", file, p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s: %q lies on %q", file, p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			for _, w := range check(target.Expr, there, seen) {
				t.Errorf("%s, %q: %s", file, p.Title, w)
			}
		}
	}
	for _, v := range b.Templating.List {
		if q, ok := v.Query.(map[string]any); ok && v.Type == "query" {
			text, _ := q["query"].(string)
			for _, w := range check(text, there, make(map[string]bool)) {
				t.Errorf("%s, variable %s: %s", file, v.Name, w)
			}
		}
	}
}

// TestDashboards holds the dashboards against what a program exposes in which
// everything has happened: each metric is there with each label, and each of
// ours is shown somewhere.
func TestDashboards(t *testing.T) {
	w := newWorld(t, prometheus.Options{FlightHeader: flight, SendDurations: true})
	w.exercise()
	there, seen := exposed(w.gathered()), make(map[string]bool)
	files, err := filepath.Glob(filepath.Join(testenv.Root(t), "deploy", "grafana", "*.json"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dashboards: %v", len(files), err)
	}
	uids := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if b.UID == "" || uids[b.UID] || b.Title == "" || len(b.Panels) == 0 {
			t.Errorf("%s: uid %q, title %q", file, b.UID, b.Title)
		}
		uids[b.UID] = true
		b.check(t, filepath.Base(file), there, seen)
	}
	for name := range there {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		if strings.HasPrefix(name, "polywire_") && !seen[name] && !seen[base+"_bucket"] && !seen[base+"_count"] {
			t.Errorf("no dashboard shows %s", name)
		}
	}
}

// rule is an alert, of deploy/prometheus/alerts.yml.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// alerts reads all rules.
func alerts(t *testing.T) (rules []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.Unmarshal([]byte(document(t, "deploy", "prometheus", "alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	if len(rules) < 15 {
		t.Fatalf("%d rules", len(rules))
	}
	return rules
}

func document(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{testenv.Root(t)}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// runbookURL is where docs/runbook.md is read.
const runbookURL = "https://github.com/polywire/polywire/blob/main/docs/runbook.md#"

// TestAlerts holds the alerts against what is exposed, as dashboards are, and
// the handbook, which explains each metric.
func TestAlerts(t *testing.T) {
	w := newWorld(t, prometheus.Options{FlightHeader: flight, SendDurations: true})
	w.exercise()
	there := exposed(w.gathered())
	for _, r := range alerts(t) {
		for _, wrong := range check(r.Expr, there, make(map[string]bool)) {
			t.Errorf("%s: %s", r.Alert, wrong)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" || r.Annotations["summary"] == "" {
			t.Errorf("%s: severity %q, summary %q", r.Alert, s, r.Annotations["summary"])
		}
	}
	handbook := document(t, "docs", "operations.md")
	for name := range w.gathered() {
		if strings.HasPrefix(name, "polywire_") && !strings.Contains(handbook, "`"+name+"`") {
			t.Errorf("the handbook does not explain %s", name)
		}
	}
	for _, wrong := range unexposed(handbook, there) {
		t.Errorf("docs/operations.md: %s", wrong)
	}
}

var (
	headingPattern = regexp.MustCompile(`(?m)^### (Polywire\w*)$`)
	namedPattern   = regexp.MustCompile("`(polywire_\\w*[a-z])[`{]")
	promqlPattern  = regexp.MustCompile("(?ms)^```promql\n(.*?)^```")
)

// unexposed returns the metrics that a document names and nothing exposes.
func unexposed(text string, there map[string][]string) (wrong []string) {
	for _, m := range namedPattern.FindAllStringSubmatch(text, -1) {
		if there[m[1]] == nil && there[m[1]+"_count"] == nil {
			wrong = append(wrong, "there is no metric "+m[1])
		}
	}
	return wrong
}

// TestRunbook: each alert leads to its section, each section has what it is
// there for, and every expression and metric in it exists.
func TestRunbook(t *testing.T) {
	w := newWorld(t, prometheus.Options{FlightHeader: flight, SendDurations: true})
	w.exercise()
	there := exposed(w.gathered())
	runbook := document(t, "docs", "runbook.md")
	for _, wrong := range unexposed(runbook, there) {
		t.Error(wrong)
	}
	sections := make(map[string]string)
	for _, m := range headingPattern.FindAllStringSubmatchIndex(runbook, -1) {
		section := runbook[m[1]:]
		if end := strings.Index(section, "\n##"); end >= 0 {
			section = section[:end]
		}
		sections[runbook[m[2]:m[3]]] = section
	}
	for _, r := range alerts(t) {
		section := sections[r.Alert]
		delete(sections, r.Alert)
		if want := runbookURL + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %s", r.Alert, r.Annotations["runbook_url"], want)
		}
		for _, part := range []string{"**Means:** ", "**See:** ", "```promql\n", "**Do:** "} {
			if part = strings.TrimSpace(part); !strings.Contains(section, part) {
				t.Errorf("%s: its section has no %s", r.Alert, part)
			}
		}
		for _, block := range promqlPattern.FindAllStringSubmatch(section, -1) {
			for expr := range strings.Lines(block[1]) {
				for _, wrong := range check(expr, there, make(map[string]bool)) {
					t.Errorf("%s: %s: %s", r.Alert, strings.TrimSpace(expr), wrong)
				}
			}
		}
	}
	for name := range sections {
		t.Errorf("there is no alert %s", name)
	}
	if got := unexposed("`polywire_nonsense_total`, `polywire_server_state{state}`", there); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
