package history

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// selection is what the listing endpoints ask about.
type selection struct {
	querier  storage.Querier
	matchers [][]*labels.Matcher
	limit    int
	start    int64 // milliseconds
	end      int64
}

// close gives the querier back; its error says nothing that a reader needs.
func (sel *selection) close() { _ = sel.querier.Close() }

// selected reads match[], start, end and limit. The caller closes the selection.
func (s *Store) selected(r *http.Request) (*selection, error) {
	now := time.Now()
	start, err := timeOf(r, "start", now.Add(-defaultSpan))
	if err != nil {
		return nil, err
	}
	end, err := timeOf(r, "end", now)
	if err != nil {
		return nil, err
	}
	sel := &selection{limit: maxListed, start: start.UnixMilli(), end: end.UnixMilli()}
	if text := r.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, bad("limit", errors.New("expected a number of at least 0"))
		}
		if n > 0 {
			sel.limit = min(n, maxListed)
		}
	}
	for _, text := range r.Form["match[]"] {
		m, err := s.parser.ParseMetricSelector(text)
		if err != nil {
			return nil, bad("match[]", err)
		}
		sel.matchers = append(sel.matchers, m)
	}
	sel.querier, err = s.db.Querier(sel.start, sel.end)
	if err != nil {
		return nil, executed(err)
	}
	return sel, nil
}

// each calls f once for each match[], or once without matchers.
func (sel *selection) each(f func(...*labels.Matcher) error) error {
	if len(sel.matchers) == 0 {
		return f()
	}
	for _, m := range sel.matchers {
		if err := f(m...); err != nil {
			return executed(err)
		}
	}
	return nil
}

// names collects sorted names from each match[], at most limit.
func (sel *selection) names(get func(...*labels.Matcher) ([]string, error)) ([]string, error) {
	set := map[string]bool{}
	err := sel.each(func(m ...*labels.Matcher) error {
		list, err := get(m...)
		for _, name := range list {
			set[name] = true
		}
		return err
	})
	out := slices.AppendSeq([]string{}, maps.Keys(set))
	slices.Sort(out)
	return out[:min(len(out), sel.limit)], err
}

func (s *Store) labelNames(ctx context.Context, r *http.Request) (any, error) {
	sel, err := s.selected(r)
	if err != nil {
		return nil, err
	}
	defer sel.close()
	return sel.names(func(m ...*labels.Matcher) ([]string, error) {
		list, _, err := sel.querier.LabelNames(ctx, &storage.LabelHints{Limit: sel.limit}, m...)
		return list, err
	})
}

func (s *Store) labelValues(ctx context.Context, r *http.Request) (any, error) {
	name := r.PathValue("name")
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return nil, bad("name", errors.New("this is no label name"))
	}
	sel, err := s.selected(r)
	if err != nil {
		return nil, err
	}
	defer sel.close()
	return sel.names(func(m ...*labels.Matcher) ([]string, error) {
		list, _, err := sel.querier.LabelValues(ctx, name, &storage.LabelHints{Limit: sel.limit}, m...)
		return list, err
	})
}

func (s *Store) series(ctx context.Context, r *http.Request) (any, error) {
	sel, err := s.selected(r)
	if err != nil {
		return nil, err
	}
	defer sel.close()
	if len(sel.matchers) == 0 {
		return nil, bad("match[]", errors.New("expected at least one selector"))
	}
	found := map[string]labels.Labels{}
	hints := &storage.SelectHints{Start: sel.start, End: sel.end, Func: "series", Limit: sel.limit}
	err = sel.each(func(m ...*labels.Matcher) error {
		set := sel.querier.Select(ctx, true, hints, m...)
		for set.Next() && len(found) < sel.limit {
			l := set.At().Labels()
			found[l.String()] = l.Copy()
		}
		return set.Err()
	})
	out := []labels.Labels{}
	for _, k := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[k])
	}
	return out, err
}

// meta describes one metric.
type meta struct {
	Type model.MetricType `json:"type"`
	Help string           `json:"help"`
	Unit string           `json:"unit"`
}

func (s *Store) metadata(_ context.Context, r *http.Request) (any, error) {
	only := r.FormValue("metric")
	out := map[string][]meta{}
	for _, targets := range s.scraper.manager.TargetsActive() {
		for _, t := range targets {
			for _, m := range t.ListMetadata() {
				x := meta{m.Type, m.Help, m.Unit}
				if (only == "" || only == m.MetricFamily) && !slices.Contains(out[m.MetricFamily], x) {
					out[m.MetricFamily] = append(out[m.MetricFamily], x)
				}
			}
		}
	}
	return out, nil
}

// targetState is one scraped target.
type targetState struct {
	Labels     labels.Labels `json:"labels"`
	ScrapePool string        `json:"scrapePool"`
	ScrapeURL  string        `json:"scrapeUrl"`
	LastError  string        `json:"lastError"`
	LastScrape time.Time     `json:"lastScrape"`
	Health     string        `json:"health"`
}

func (s *Store) targets(context.Context, *http.Request) (any, error) {
	active := []targetState{}
	pools := s.scraper.manager.TargetsActive()
	for _, pool := range slices.Sorted(maps.Keys(pools)) {
		for _, t := range pools[pool] {
			x := targetState{
				Labels: t.Labels(labels.NewBuilder(labels.EmptyLabels())), ScrapePool: pool, ScrapeURL: t.URL().String(),
				LastScrape: t.LastScrape(), Health: string(t.Health()),
			}
			if err := t.LastError(); err != nil {
				x.LastError = err.Error()
			}
			active = append(active, x)
		}
	}
	return map[string]any{"activeTargets": active, "droppedTargets": []string{}}, nil
}
