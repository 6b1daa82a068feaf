package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/demo"
	"github.com/haldane-project/haldane/internal/demo/modelserver"
)

// newSample is the service that the demo releases, so that it needs only this binary.
func newSample(*shell) *cobra.Command {
	return &cobra.Command{
		Use:    "sample-app",
		Short:  "The sample service of the demo",
		Hidden: true,
		Args:   noNames,
		RunE:   func(cmd *cobra.Command, _ []string) error { return demo.Sample(cmd.Context()) },
	}
}

// newSampleLLM is the model server of the demo llm.
func newSampleLLM(*shell) *cobra.Command {
	return &cobra.Command{
		Use:    "sample-llm",
		Short:  "The sample model server of the demo",
		Hidden: true,
		Args:   noNames,
		RunE:   func(cmd *cobra.Command, _ []string) error { return modelserver.Run(cmd.Context(), os.Getenv) },
	}
}
