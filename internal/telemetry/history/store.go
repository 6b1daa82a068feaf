// Package history is the queryable history of metrics: an embedded Prometheus
// store (TSDB) with PromQL, filled by scraping Haldane's own metrics and the
// versions' /metrics, and served as a Prometheus data source. A query that works
// here works on a Prometheus server. No data is an empty result, never a zero.
//
// It knows no run, no verdict and no release but as labels. Read this file
// first, then repair.go (a damaged store), scrape.go (what fills it), api.go.
package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
)

// Options of a Store. Dir and Log are needed; zero values of the others mean
// the defaults that stand beside them.
type Options struct {
	Dir       string              // of its own; made if it is not there
	Log       *slog.Logger        //
	Own       prometheus.Gatherer // Haldane's own metrics; nil: none
	Retention time.Duration       // 15 days
	MaxBytes  int64               // of blocks on disk: 1 GiB
	Interval  time.Duration       // between scrapes: 1 second
	Sparing   time.Duration       // the same of a target that takes long to answer: Interval
	Rarely    time.Duration       // between looks at a target that has no metrics: 5 minutes
}

// lookback is how old a sample may be to count as current. It is short, so that
// a query over a store that has a gap says no data rather than what was.
const lookback = 10 * time.Second

// The limits of one query.
const (
	queryTimeout = 20 * time.Second
	maxSamples   = 10_000_000
)

// Store keeps metrics. It must be closed.
type Store struct {
	db      *tsdb.DB
	engine  *promql.Engine
	parser  parser.Parser
	scraper *scraper
	fresh   *fresh
	log     *slog.Logger
}

// Open opens the store in a directory and begins to scrape. What is damaged in
// it is moved aside with a warning; it fails when the directory cannot be
// written or when another process uses it.
func Open(o Options) (*Store, error) {
	o = o.defaulted()
	db, err := open(o)
	if err != nil {
		return nil, fmt.Errorf("open the metrics history in %s: %w", o.Dir, err)
	}
	s := &Store{db: db, parser: parser.NewParser(parser.Options{}), log: o.Log}
	s.engine = promql.NewEngine(promql.EngineOpts{
		Logger:           quiet(o.Log),
		MaxSamples:       maxSamples,
		Timeout:          queryTimeout,
		LookbackDelta:    lookback,
		EnableAtModifier: true, EnableNegativeOffset: true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return o.Interval.Milliseconds() },
		Parser:                   s.parser,
	})
	s.fresh = newFresh(db)
	s.scraper, err = newScraper(o, s.fresh)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin to scrape: %w", err), s.engine.Close(), db.Close())
	}
	return s, nil
}

func (o Options) defaulted() Options {
	if o.Retention == 0 {
		o.Retention = 15 * 24 * time.Hour
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	o.Sparing = max(o.Sparing, o.Interval)
	if o.Rarely == 0 {
		o.Rarely = 5 * time.Minute
	}
	return o
}

// storage gives the options of the TSDB: small stripes and segments, since it
// holds one machine's metrics.
func (o Options) storage() *tsdb.Options {
	t := tsdb.DefaultOptions()
	t.RetentionDuration = o.Retention.Milliseconds()
	t.MaxBytes = o.MaxBytes
	t.WALSegmentSize = 16 << 20
	t.WALCompression = compression.Snappy
	t.StripeSize = 512
	t.MaxBlockDuration = max(t.MinBlockDuration, o.Retention.Milliseconds()/10)
	return t
}

// Close ends scraping and closes the store.
func (s *Store) Close() error {
	s.scraper.close()
	return errors.Join(s.engine.Close(), s.db.Close())
}

// SetTargets replaces the list of what is scraped beside Haldane itself.
func (s *Store) SetTargets(targets []Target) { s.scraper.set(targets) }

// Scraped returns a channel that is closed when the next scrape of any target has
// been stored. Who asks before a query misses none that the query did not see.
func (s *Store) Scraped() <-chan struct{} { return s.fresh.wait() }

// Value evaluates a query to one number at a time. ok is false where the result
// is empty: there is no data. Several series, or a histogram, are an error.
func (s *Store) Value(ctx context.Context, query string, at time.Time) (value float64, ok bool, err error) {
	q, err := s.engine.NewInstantQuery(ctx, s.db, nil, query, at)
	if err != nil {
		return 0, false, err
	}
	defer q.Close()
	result := q.Exec(ctx)
	if result.Err != nil {
		return 0, false, result.Err
	}
	switch v := result.Value.(type) {
	case promql.Scalar:
		return v.V, true, nil
	case promql.Vector:
		return single(v)
	}
	return 0, false, fmt.Errorf("the query gives a %s, expected a number", result.Value.Type())
}

func single(v promql.Vector) (float64, bool, error) {
	switch {
	case len(v) == 0:
		return 0, false, nil
	case len(v) > 1:
		return 0, false, fmt.Errorf("the query gives %d series, expected one: put sum() or avg() around it", len(v))
	case v[0].H != nil:
		return 0, false, errors.New("the query gives a histogram, expected a number: put histogram_quantile() around it")
	}
	return v[0].F, true, nil
}
