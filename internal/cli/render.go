package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/render"
)

func newRender(sh *shell) *cobra.Command {
	var a render.App
	var env []string
	cmd := &cobra.Command{
		Use:   "render NAME",
		Short: "Write the Kubernetes objects of an application, with a Release",
		Long: `Writes a Deployment, a Service, a PodDisruptionBudget, the route that users take
and the Release that lets new versions in by evidence. Nothing is sent anywhere:
read it, keep it in git, apply it. On a terminal it asks for what no flag says.

The pods run under the Pod Security Standard "restricted": not as root (an image
that would needs --user), with a read-only file system but for /tmp.

The evidence are counters that tell the versions apart: those of a Prometheus
server (--prometheus), of the versions' own /metrics or of a router's pods
(--scrape, --scrape-pods), read every 250 ms.`,
		Example: `  haldane render hello --image registry.example/hello:v1 --port 8080 --scrape 8080/metrics | kubectl apply -f -
  haldane render hello --image registry.example/hello:v1 --port 8080 --probe /healthz \
    --router gatewayapi --gateway infra/public --host hello.example.org \
    --scrape 9100/metrics --scrape-pods traefik/app.kubernetes.io/name=traefik --layout traefik
  haldane render hello --image registry.example/hello:v1 --port 8080 --router istio --prometheus http://prometheus.monitoring:9090`,
		Args: atMostOneName,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				a.Name = args[0]
			}
			a.Namespace = sh.cluster.Namespace
			var err error
			if a.Env, err = pairs(env); err != nil {
				return usageError(err)
			}
			if isTerminal(sh.in) && isTerminal(sh.err) {
				if err := sh.askFor(&a); err != nil {
					return err
				}
			}
			text, err := render.YAML(a)
			var problems render.Problems
			switch {
			case errors.As(err, &problems) && a.Name == "":
				return usageError(fmt.Errorf("which application? Name it, such as `%s render hello --image registry.example/hello:v1 --port 8080 --scrape 8080/metrics`", self))
			case errors.As(err, &problems):
				return usageError(problems)
			case err != nil:
				return err
			}
			_, err = sh.out.Write(text)
			return err
		},
	}
	renderFlags(cmd, &a, &env)
	return cmd
}

func renderFlags(cmd *cobra.Command, a *render.App, env *[]string) {
	f := cmd.Flags()
	f.StringVar(&a.Image, "image", "", "image with a tag or a digest, which names the version")
	f.IntVar(&a.Port, "port", 0, "port that the container listens on")
	f.StringVar(&a.Protocol, "protocol", "http", "http, or grpc with the standard health service")
	f.StringVar(&a.Probe, "probe", "/", "path that answers 200 once the container can serve")
	f.StringArrayVar(env, "env", nil, "environment variable `NAME=VALUE`; may be repeated")
	f.Int64Var(&a.User, "user", 0, "number of the user that the container runs as (default: the image's)")
	f.StringVar(&a.CPU, "cpu", "100m", "CPU that is requested")
	f.StringVar(&a.Memory, "memory", "256Mi", "memory that is requested, and the limit")
	f.IntVar(&a.Replicas, "replicas", 2, "instances")
	f.IntVar(&a.MaxReplicas, "max-replicas", 0, "let the number of instances follow the CPU, up to this many (0: no)")
	f.StringVar(&a.Router, "router", "", "what splits the traffic: "+strings.Join(render.Routers, ", ")+" (default: replicas, by the number of instances)")
	f.StringVar(&a.Gateway, "gateway", "", "`[NAMESPACE/]NAME` of the Gateway that users come through (gatewayapi, istio)")
	f.StringVar(&a.Host, "host", "", "host name that users ask for (default: any)")
	f.StringVar(&a.Evidence.Prometheus, "prometheus", "", "`address` of a Prometheus server with the counters")
	f.StringVar(&a.Evidence.Scrape, "scrape", "", "`PORT[/PATH]` of the versions' own metrics, or of a router's")
	f.StringVar(&a.Evidence.Pods, "scrape-pods", "", "`NAMESPACE/LABEL=VALUE,...` of the router's pods, for --scrape")
	f.StringVar(&a.Evidence.Layout, "layout", "", "whose series they are: envoy, http, istio, linkerd, nginx or traefik (default: the router's, or http)")
	must(cmd.RegisterFlagCompletionFunc("protocol", fixed("http", "grpc")))
	must(cmd.RegisterFlagCompletionFunc("router", fixed(render.Routers...)))
	must(cmd.RegisterFlagCompletionFunc("layout", fixed("envoy", "http", "istio", "linkerd", "nginx", "traefik")))
}

// pairs reads NAME=VALUE.
func pairs(words []string) (map[string]string, error) {
	out := map[string]string{}
	for _, w := range words {
		name, value, found := strings.Cut(w, "=")
		if !found {
			return nil, fmt.Errorf("--env is %q, expected NAME=VALUE", w)
		}
		out[name] = value
	}
	return out, nil
}

// askFor asks for what can not be guessed and no flag says.
func (sh *shell) askFor(a *render.App) error {
	port := ""
	if a.Port > 0 {
		port = strconv.Itoa(a.Port)
	}
	e := &a.Evidence
	for _, q := range []struct {
		answer         *string
		text, proposed string
		when           func() bool
	}{
		{&a.Name, "Name of the application", "", nil},
		{&a.Image, "Image, with a tag", "", nil},
		{&port, "Port that the container listens on", "8080", nil},
		{&a.Router, "What splits the traffic (" + strings.Join(render.Routers, ", ") + ")", "replicas", nil},
		{&a.Gateway, "Gateway that users come through ([NAMESPACE/]NAME)", "", func() bool { return a.Router == "gatewayapi" }},
		{&e.Prometheus, "Address of a Prometheus server (empty: Haldane reads the counters itself)", "", func() bool { return e.Scrape == "" }},
		{&e.Scrape, "Port and path of the versions' own metrics", "", func() bool { return e.Prometheus == "" }},
	} {
		if *q.answer != "" || q.when != nil && !q.when() {
			continue
		}
		answer, err := sh.question(q.text, q.proposed)
		if err != nil {
			return err
		}
		*q.answer = answer
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return usageError(fmt.Errorf("the port is %q, expected a number", port))
	}
	a.Port = n
	return nil
}

// question asks on standard error; an empty answer is the proposed one.
func (sh *shell) question(text, proposed string) (string, error) {
	if proposed != "" {
		text += " [" + proposed + "]"
	}
	fmt.Fprintf(sh.err, "%s: ", text)
	line, err := readLine(sh.in)
	if err != nil && line == "" {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return proposed, nil
	}
	return line, nil
}
