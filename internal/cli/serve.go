package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/client"
)

func newServe(sh *shell) *cobra.Command {
	o := app.Options{}
	var format, level string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: proxy, supervisor, judge, store, API and web page",
		Long: `Runs everything in one process on this machine, until Ctrl-C or SIGTERM; then
requests that were accepted are finished first. What is kept is in --data, and a
restart goes on where it was, in the middle of a run, too.

Off loopback it starts only with --tokens, a file with one token a line, as
haldane token writes them:

    NAME ROLE SHA256       # ROLE is viewer, operator or author`,
		Example: `  haldane serve
  haldane serve -f release.yaml              # and apply this manifest first
  haldane serve --listen 0.0.0.0:7070 --tokens /etc/haldane/tokens`,
		Args: noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := sh.logger(format, level)
			if err != nil {
				return usageError(err)
			}
			if o.Data == "" {
				if o.Data, err = stateDir(); err != nil {
					return err
				}
			}
			o.Log = log
			o.Ready = func(address string) {
				log.Info("serving", "page", "http://"+address, "data", o.Data, "version", app.Version)
			}
			return app.Serve(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", env("HALDANE_LISTEN", client.DefaultAddress), "address of the API and the web page (HALDANE_LISTEN)")
	f.StringSliceVar(&o.Names, "name", nil, "further host names that browsers use for it")
	f.StringVar(&o.Data, "data", os.Getenv("HALDANE_DATA"), "directory of what is kept (HALDANE_DATA; default: $XDG_STATE_HOME/haldane or ~/.local/state/haldane)")
	f.StringVar(&o.TokensFile, "tokens", os.Getenv("HALDANE_TOKENS_FILE"), "file that says who may do what (HALDANE_TOKENS_FILE)")
	f.StringSliceVarP(&o.Files, "file", "f", nil, "manifest to apply at the start; may be repeated")
	f.DurationVar(&o.Grace, "grace", 30*time.Second, "longest time for open requests at a stop")
	f.StringVar(&o.Notify, "notify", os.Getenv("HALDANE_NOTIFY"), "URL that gets a POST with the events of releases and the judge's report (HALDANE_NOTIFY)")
	f.StringVar(&o.NotifyToken, "notify-token", os.Getenv("HALDANE_NOTIFY_TOKEN_FILE"), "file with the token that is sent there as bearer (HALDANE_NOTIFY_TOKEN_FILE)")
	f.StringVar(&o.OTLP, "otlp-endpoint", "", "collector of traces, its base URL, such as http://127.0.0.1:4318 (OTEL_EXPORTER_OTLP_ENDPOINT; none: nothing is traced)")
	f.Float64Var(&o.TraceRatio, "trace-ratio", 1, "share of the requests that is traced, 0 to 1; requests whose caller says whether they are follow that")
	f.StringVar(&format, "log-format", "text", "text or json")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	must(cmd.RegisterFlagCompletionFunc("log-format", fixed("text", "json")))
	must(cmd.RegisterFlagCompletionFunc("log-level", fixed("debug", "info", "warn", "error")))
	must(cmd.MarkFlagDirname("data"))
	return cmd
}

// logger writes the daemon's log to standard error.
func (sh *shell) logger(format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level is %q%s", level, known("levels", []string{"debug", "info", "warn", "error"}, level))
	}
	o := &slog.HandlerOptions{Level: l}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(slog.NewTextHandler(sh.err, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(sh.err, o)), nil
	}
	return nil, fmt.Errorf("--log-format is %q%s", format, known("formats", []string{"text", "json"}, format))
}

// stateDir follows the XDG base directory specification.
func stateDir() (string, error) {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "haldane"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("where to keep data? There is no home directory: give one with --data")
	}
	return filepath.Join(home, ".local", "state", "haldane"), nil
}
