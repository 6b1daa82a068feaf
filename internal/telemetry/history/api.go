package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// The limits of one request.
const (
	maxPoints   = 11_000 // of each series of a range query
	maxBody     = 1 << 20
	maxListed   = 20_000 // labels, values, series
	defaultSpan = 12 * time.Hour
)

// QueryHandler serves the part of the Prometheus HTTP API that a data source
// needs, under /api/v1/. It only reads. Mount it below any prefix with
// http.StripPrefix.
func (s *Store) QueryHandler() http.Handler {
	mux := http.NewServeMux()
	for path, f := range map[string]endpoint{
		"query":               s.instantQuery,
		"query_range":         s.rangeQuery,
		"format_query":        s.formatQuery,
		"labels":              s.labelNames,
		"label/{name}/values": s.labelValues,
		"series":              s.series,
		"metadata":            s.metadata,
		"targets":             s.targets,
		"status/buildinfo":    s.buildInfo,
		"query_exemplars":     func(context.Context, *http.Request) (any, error) { return []string{}, nil },
		"rules":               func(context.Context, *http.Request) (any, error) { return map[string][]string{"groups": {}}, nil },
		"alerts":              func(context.Context, *http.Request) (any, error) { return map[string][]string{"alerts": {}}, nil },
	} {
		mux.Handle("GET /api/v1/"+path, f)
		mux.Handle("POST /api/v1/"+path, f)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, &apiError{http.StatusNotFound, "not_found",
			fmt.Errorf("%s %s is not served here; served: query, query_range, labels, label/NAME/values, series, metadata, targets", r.Method, r.URL.Path)})
	})
	return mux
}

// endpoint answers one request with the data of a successful response.
type endpoint func(context.Context, *http.Request) (any, error)

// ServeHTTP implements http.Handler.
func (f endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	if err := r.ParseForm(); err != nil {
		fail(w, bad("form", err))
		return
	}
	data, err := f(ctx, r)
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusOK, response{Status: "success", Data: data})
}

type response struct {
	Status    string `json:"status"`
	Data      any    `json:"data,omitempty"`
	ErrorType string `json:"errorType,omitempty"`
	Error     string `json:"error,omitempty"`
}

// apiError is an error with its place in the protocol.
type apiError struct {
	code int
	kind string
	err  error
}

func (e *apiError) Error() string { return e.err.Error() }

func bad(parameter string, err error) error {
	return &apiError{http.StatusBadRequest, "bad_data", fmt.Errorf("invalid parameter %q: %w", parameter, err)}
}

// executed places an error of the engine.
func executed(err error) error {
	var timeout promql.ErrQueryTimeout
	var canceled promql.ErrQueryCanceled
	switch {
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return &apiError{http.StatusServiceUnavailable, "timeout", err}
	case errors.As(err, &canceled):
		return &apiError{499, "canceled", err}
	}
	return &apiError{http.StatusUnprocessableEntity, "execution", err}
}

func fail(w http.ResponseWriter, err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{http.StatusInternalServerError, "internal", err}
	}
	reply(w, e.code, response{Status: "error", ErrorType: e.kind, Error: e.Error()})
}

func reply(w http.ResponseWriter, code int, r response) {
	body, err := json.Marshal(r)
	if err != nil {
		code, body = http.StatusInternalServerError, []byte(`{"status":"error","errorType":"internal","error":"the answer cannot be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(body) // a client that hung up has no use for an error
}

// queryData is the answer of both query endpoints.
type queryData struct {
	ResultType parser.ValueType `json:"resultType"`
	Result     parser.Value     `json:"result"`
}

func (s *Store) instantQuery(ctx context.Context, r *http.Request) (any, error) {
	at, err := timeOf(r, "time", time.Now())
	if err != nil {
		return nil, err
	}
	options, err := optionsOf(r)
	if err != nil {
		return nil, err
	}
	q, err := s.engine.NewInstantQuery(ctx, s.db, options, r.FormValue("query"), at)
	if err != nil {
		return nil, bad("query", err)
	}
	return run(ctx, q)
}

func (s *Store) rangeQuery(ctx context.Context, r *http.Request) (any, error) {
	start, err := timeOf(r, "start", time.Time{})
	if err != nil {
		return nil, err
	}
	end, err := timeOf(r, "end", time.Time{})
	if err != nil {
		return nil, err
	}
	step, err := durationOf(r.FormValue("step"))
	switch {
	case err != nil:
		return nil, bad("step", err)
	case step <= 0:
		return nil, bad("step", errors.New("expected a positive duration"))
	case end.Before(start):
		return nil, bad("end", errors.New("expected a time not before start"))
	case end.Sub(start)/step > maxPoints:
		return nil, bad("step", fmt.Errorf("more than %d points for each series: use a longer step or a shorter range", maxPoints))
	}
	options, err := optionsOf(r)
	if err != nil {
		return nil, err
	}
	q, err := s.engine.NewRangeQuery(ctx, s.db, options, r.FormValue("query"), start, end, step)
	if err != nil {
		return nil, bad("query", err)
	}
	return run(ctx, q)
}

// optionsOf reads how old a sample may be for one query.
func optionsOf(r *http.Request) (promql.QueryOpts, error) {
	text := r.FormValue("lookback_delta")
	if text == "" {
		return promql.NewPrometheusQueryOpts(false, 0), nil
	}
	d, err := durationOf(text)
	if err != nil {
		return nil, bad("lookback_delta", err)
	}
	return promql.NewPrometheusQueryOpts(false, d), nil
}

// run executes a query. The result is copied into its encoding before the query
// is closed, which takes its memory back.
func run(ctx context.Context, q promql.Query) (any, error) {
	defer q.Close()
	result := q.Exec(ctx)
	if result.Err != nil {
		return nil, executed(result.Err)
	}
	data := queryData{result.Value.Type(), result.Value}
	switch v := result.Value.(type) {
	case promql.Vector:
		if v == nil {
			data.Result = promql.Vector{}
		}
	case promql.Matrix:
		if v == nil {
			data.Result = promql.Matrix{}
		}
	}
	encoded, err := json.Marshal(data)
	return json.RawMessage(encoded), err
}

func (s *Store) formatQuery(_ context.Context, r *http.Request) (any, error) {
	expr, err := s.parser.ParseExpr(r.FormValue("query"))
	if err != nil {
		return nil, bad("query", err)
	}
	return expr.Pretty(0), nil
}

func (s *Store) buildInfo(context.Context, *http.Request) (any, error) {
	return map[string]string{
		"version":  "3.0.0", // of the query language and of this API
		"revision": "", "branch": "", "buildUser": "", "buildDate": "",
		"goVersion": runtime.Version(), "application": "haldane",
	}, nil
}

// timeOf reads a time as seconds since 1970 or as RFC 3339.
func timeOf(r *http.Request, name string, absent time.Time) (time.Time, error) {
	text := r.FormValue(name)
	if text == "" {
		if absent.IsZero() {
			return absent, bad(name, errors.New("it is missing"))
		}
		return absent, nil
	}
	if v, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(v) < 1e11 {
		return time.UnixMilli(int64(math.Round(v * 1000))), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	return absent, bad(name, fmt.Errorf("%.40q is not a time: expected seconds since 1970 or RFC 3339", text))
}

// durationOf reads a duration as seconds or as 15s, 5m.
func durationOf(text string) (time.Duration, error) {
	if v, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(v) < 1e9 {
		return time.Duration(v * float64(time.Second)), nil
	}
	if d, err := model.ParseDuration(text); err == nil {
		return time.Duration(d), nil
	}
	return 0, fmt.Errorf("%.40q is not a duration: expected seconds, or 15s, 5m, 1h", text)
}
