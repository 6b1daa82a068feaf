package cli

import (
	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/manifest"
)

func newSchema(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of manifests, for completion in editors",
		Long: `Prints the JSON Schema (draft 7) of a release. Editors with a YAML language
server complete and check a manifest whose first line names the file:

    # yaml-language-server: $schema=./release.schema.json`,
		Example: `  haldane schema > release.schema.json`,
		Args:    noNames,
		RunE: func(*cobra.Command, []string) error {
			_, err := sh.out.Write(manifest.Schema())
			return err
		},
	}
}
