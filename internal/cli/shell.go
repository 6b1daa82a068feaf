package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/client"
)

// shell is what all commands share: the streams, the global flags and how to draw.
type shell struct {
	in       io.Reader
	out, err io.Writer

	server    string
	tokenFile string
	output    string
	color     string

	kube          bool // work on a cluster instead of a daemon
	cluster       app.Cluster
	allNamespaces bool
	inside        *client.Client  // the daemon inside this process, once it is asked
	lasting       context.Context // ends with the program

	screen screen // of standard output
	talk   screen // of standard error
}

func newShell(in io.Reader, out, err io.Writer) *shell {
	sh := &shell{in: in, out: out, err: err, color: "auto", output: "table", lasting: context.Background(), kube: os.Getenv("HALDANE_KUBE") != ""}
	sh.screen, sh.talk = screenOf(out, sh.color), screenOf(err, sh.color)
	return sh
}

// globals registers the flags that every command has.
func (sh *shell) globals(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&sh.server, "server", env("HALDANE_SERVER", client.DefaultAddress), "address of the daemon's API (HALDANE_SERVER)")
	f.StringVar(&sh.tokenFile, "token-file", os.Getenv("HALDANE_TOKEN_FILE"), "file with the token for the API (or HALDANE_TOKEN)")
	f.BoolVar(&sh.kube, "kube", sh.kube, "work on the Releases of a Kubernetes cluster (HALDANE_KUBE)")
	f.StringVar(&sh.cluster.Kubeconfig, "kubeconfig", "", "file that says where clusters are (KUBECONFIG); implies --kube")
	f.StringVar(&sh.cluster.Context, "context", "", "context of the kubeconfig; implies --kube")
	f.StringVarP(&sh.cluster.Namespace, "namespace", "n", "", "namespace (default: the context's); implies --kube")
	f.BoolVarP(&sh.allNamespaces, "all-namespaces", "A", false, "all namespaces: names are then namespace/name; implies --kube")
	f.StringVar(&sh.color, "color", sh.color, "colours: auto, always or never")
	must(root.RegisterFlagCompletionFunc("color", fixed("auto", "always", "never")))
}

// begin checks the global flags once they are parsed.
func (sh *shell) begin() error {
	switch sh.color {
	case "auto", "always", "never":
	default:
		return usageError(fmt.Errorf("--color is %q, expected auto, always or never", sh.color))
	}
	sh.screen, sh.talk = screenOf(sh.out, sh.color), screenOf(sh.err, sh.color)
	return nil
}

// onCluster says that the flags name a cluster in place of a daemon.
func (sh *shell) onCluster() bool {
	return sh.kube || sh.allNamespaces || sh.cluster != (app.Cluster{})
}

// connect returns a client of the daemon. Nothing is sent yet.
func (sh *shell) connect() (*client.Client, error) {
	if sh.onCluster() {
		return sh.connectCluster()
	}
	token, err := sh.token()
	if err != nil {
		return nil, err
	}
	c, err := client.New(sh.server, client.Options{Token: token})
	if err != nil {
		return nil, usageError(fmt.Errorf("--server: %w", err))
	}
	return c, nil
}

// connectCluster starts the daemon inside this process once.
func (sh *shell) connectCluster() (*client.Client, error) {
	if sh.inside != nil {
		return sh.inside, nil
	}
	c, err := app.Connect(sh.lasting, sh.cluster, sh.allNamespaces)
	if err != nil {
		return nil, err
	}
	sh.inside = c
	return c, nil
}

func (sh *shell) token() (string, error) {
	if sh.tokenFile == "" {
		return strings.TrimSpace(os.Getenv("HALDANE_TOKEN")), nil
	}
	b, err := os.ReadFile(sh.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \n") {
		return "", fmt.Errorf("read the token: %s holds more or less than one word", sh.tokenFile)
	}
	return token, nil
}

// say talks to the person, never to a pipe.
func (sh *shell) say(format string, a ...any) { fmt.Fprintf(sh.err, format+"\n", a...) }

// paint colours talk.
func (sh *shell) paint(i ink, s string) string { return sh.talk.paint(i, s) }

// self is how the program was called, for commands that are to be typed.
const self = "haldane"

// explain adds to an error what to type next.
func (sh *shell) explain(err error) string {
	msg := err.Error()
	var down *client.Unreachable
	switch {
	case errors.As(err, &down):
		return fmt.Sprintf("cannot reach the daemon at %s (%v): is `%s serve` running? Another address is given with --server or HALDANE_SERVER", down.Server, down.Err, self)
	case client.IsUnauthorized(err):
		return msg + "\n  give a token with --token-file FILE or HALDANE_TOKEN"
	case errors.Is(err, context.DeadlineExceeded):
		return msg + "\n  the daemon took too long to answer: see its log"
	}
	return msg
}

// notFound turns "no such release" into an error that lists the ones there are.
func (sh *shell) notFound(ctx context.Context, c *client.Client, name string, err error) error {
	if !client.IsNotFound(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	list, listErr := c.List(ctx)
	if listErr != nil {
		return err
	}
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = r.Name
	}
	if len(names) == 0 {
		return fmt.Errorf("there is no release %q, nor any other: apply one with `%s apply -f release.yaml`", name, self)
	}
	return fmt.Errorf("there is no release %q%s", name, known("releases", names, name))
}

// confirm asks on a terminal; without one it is a no, unless yes was given.
func (sh *shell) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(sh.in) || !isTerminal(sh.err) {
		return usageError(fmt.Errorf("%s Nobody can be asked here: add --yes", question))
	}
	fmt.Fprintf(sh.err, "%s [y/N] ", question)
	line, err := readLine(sh.in)
	if err != nil && line == "" {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	sh.say("Nothing was done.")
	return &silent{exitError}
}

// readLine reads up to a line's end, byte by byte: what follows is not ours.
func readLine(r io.Reader) (string, error) {
	var line bytes.Buffer
	one := make([]byte, 1)
	for line.Len() < 1024 {
		n, err := r.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				return line.String(), nil
			}
			line.WriteByte(one[0])
		}
		if err != nil {
			return line.String(), err
		}
	}
	return line.String(), nil
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func must(err error) {
	if err != nil {
		panic("cli: " + err.Error())
	}
}
