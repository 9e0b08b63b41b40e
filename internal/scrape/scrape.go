// Package scrape reads a page of metrics in the text form of Prometheus, as far
// as tests and measurements of our own servers need it.
package scrape

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// MaxBytes is the largest page that is read.
const MaxBytes = 8 << 20

// Page is the series of a page, each under its name with labels as they were
// written: `requests_total{code="200"}`.
type Page map[string]float64

// Fetch asks a URL for its metrics. Any answer but 200 is an error.
func Fetch(ctx context.Context, url string) (Page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape: %s answered %s", url, resp.Status)
	}
	return Parse(io.LimitReader(resp.Body, MaxBytes))
}

// Parse reads a page. Times behind values are passed over.
func Parse(r io.Reader) (Page, error) {
	p := make(Page)
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		// A label's value may have spaces and braces in it, but it ends before
		// the last brace.
		end := strings.LastIndexByte(line, '}') + 1
		if end == 0 {
			end = max(strings.IndexAny(line, " \t"), 0)
		}
		fields := strings.Fields(line[end:])
		if end == 0 || len(fields) == 0 || len(fields) > 2 || strings.Contains(line[:end], "{") != (line[end-1] == '}') {
			return nil, fmt.Errorf("scrape: not a series: %.100q", line)
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("scrape: the value of %.100q is no number", line)
		}
		p[line[:end]] = v
	}
	return p, in.Err()
}

// Sum adds the series of a metric that have all of some labels, each written as
// name="value". Without labels it adds all of them; with none there it is 0.
func (p Page) Sum(metric string, labels ...string) (sum float64) {
next:
	for series, v := range p {
		name, set, _ := strings.Cut(series, "{")
		if name != metric {
			continue
		}
		set = "," + strings.TrimSuffix(set, "}") + ","
		for _, l := range labels {
			if !strings.Contains(set, ","+l+",") {
				continue next
			}
		}
		sum += v
	}
	return sum
}
