package cli

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/internal/status"
)

func newLoad(sh *shell) *cobra.Command {
	var o load.Options
	var headers []string
	var body string
	cmd := &cobra.Command{
		Use:   "load URL",
		Short: "Send requests at a constant rate, so that a release has traffic to judge",
		Long: `Sends requests at a constant rate until the time is up or Ctrl-C, and reports
what its users saw. The clock decides when a request is sent, so a slow server
gets no rest, and latency counts from the moment a request was due.`,
		Example: `  haldane load http://127.0.0.1:8080/hello --rate 300 --for 60s
  haldane load http://127.0.0.1:8080/hello --users 1000 --user-header X-User`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return usageError(errors.New("load needs one address, such as http://127.0.0.1:8080/hello"))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.URL, o.Header, o.Body = args[0], http.Header{}, []byte(body)
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok || strings.TrimSpace(name) == "" {
					return usageError(fmt.Errorf("--header is %q, expected NAME: VALUE", h))
				}
				o.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
			g, err := load.New(o)
			if err != nil {
				return usageError(err)
			}
			r := g.Run(cmd.Context())
			if done, err := sh.object(r); done {
				return err
			}
			return sh.loadReport(r)
		},
	}
	f := cmd.Flags()
	f.Float64Var(&o.Rate, "rate", 100, "requests a second")
	f.DurationVar(&o.Duration, "for", 0, "how long (0: until Ctrl-C)")
	f.Int64Var(&o.Requests, "requests", 0, "how many (0: no bound)")
	f.StringVar(&o.Method, "method", http.MethodGet, "HTTP method")
	f.StringVar(&body, "body", "", "request body")
	f.StringArrayVar(&headers, "header", nil, "request header, NAME: VALUE; may be repeated")
	f.IntVar(&o.InFlight, "in-flight", 512, "most requests at once")
	f.DurationVar(&o.Timeout, "timeout", 10*time.Second, "of one request")
	f.IntVar(&o.Users, "users", 1000, "with --user-header: number of users")
	f.StringVar(&o.UserHeader, "user-header", "", "header that names the user (none: no user)")
	f.StringVar(&o.VersionHeader, "version-header", "", "answer header to count by, such as X-Version")
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

func (sh *shell) loadReport(r load.Report) error {
	g := &grid{}
	g.add("requests", grouped(r.Requests), fmt.Sprintf("in %s, %.0f a second", status.Duration(r.Elapsed), r.Rate))
	share := 0.0
	if r.Requests > 0 {
		share = float64(r.Failed) / float64(r.Requests)
	}
	g.add("failed", grouped(r.Failed), status.Share(share))
	for _, by := range []struct {
		what   string
		counts map[string]int64
	}{{"status", r.ByStatus}, {"no answer", r.ByCause}, {"version", r.ByHeader}} {
		for _, k := range slices.Sorted(maps.Keys(by.counts)) {
			g.add(by.what+" "+sh.screen.text(k), grouped(by.counts[k]))
		}
	}
	for _, q := range []struct {
		name string
		d    time.Duration
	}{{"p50", r.P50}, {"p90", r.P90}, {"p99", r.P99}, {"longest", r.Max}} {
		g.add(q.name, sh.screen.text(status.Seconds(q.d.Seconds())))
	}
	return g.write(sh.out, sh.screen)
}
