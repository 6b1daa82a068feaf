// Command llm is a model server to release: the OpenAI API around a small
// language model that it trains at start, with faults that can be planted. All
// of it is in internal/demo/modelserver; the README shows its releases.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/haldane-project/haldane/internal/demo/modelserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := modelserver.Run(ctx, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
