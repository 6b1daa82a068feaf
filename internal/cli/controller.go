package cli

import (
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/app"
)

// caching is the GOGC of a process whose heap is caches that live: a thousand idle
// releases take a fifth less memory than by Go's default.
const caching = 50

func newController(sh *shell) *cobra.Command {
	o := app.ControllerOptions{}
	var format, level string
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run the controller of a Kubernetes cluster",
		Long: `Works on the Release objects of a cluster, of one namespace or of all, until
Ctrl-C or SIGTERM. Of several with --leader-elect one works at a time, and another
takes over within five seconds. What it knows is in the objects: a restart goes on
in the middle of a run, too.`,
		Example: `  haldane controller --all-namespaces --leader-elect
  haldane controller --context test -n shop          # from a terminal, one namespace`,
		Args: noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := sh.logger(format, level)
			if err != nil {
				return usageError(err)
			}
			o.Log, o.Cluster = log, sh.cluster
			o.AllNamespaces = sh.allNamespaces
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(caching)
			}
			return app.Controller(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Selector, "selector", "", "label selector of the Releases that this controller works on (default: all)")
	f.StringVar(&o.Metrics, "metrics-address", "0", "address of the metrics, HTTPS, for whom the cluster lets read them; 0: none")
	f.StringVar(&o.Health, "health-address", "0", "address of /healthz and /readyz; 0: none")
	f.BoolVar(&o.LeaderElect, "leader-elect", false, "let one of several controllers work at a time")
	f.StringVar(&o.LeaderSpace, "leader-namespace", "", "namespace of the lease (default: the pod's own, or --namespace)")
	f.BoolVar(&o.PauseAtRest, "pause-at-rest", false, "keep Deployments paused between runs too: for clusters without the admission policy")
	f.StringVar(&o.Prometheus, "prometheus", "", "address of the Prometheus server of releases that name no source of evidence")
	f.StringVar(&o.Data, "data", "", "directory for what is scraped (default: a temporary one)")
	f.StringVar(&format, "log-format", "text", "text or json")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	must(cmd.RegisterFlagCompletionFunc("log-format", fixed("text", "json")))
	must(cmd.RegisterFlagCompletionFunc("log-level", fixed("debug", "info", "warn", "error")))
	return cmd
}
