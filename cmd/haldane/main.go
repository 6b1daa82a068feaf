// Command haldane releases new versions of a service safely. All of it is in
// internal/cli.
package main

import (
	"os"

	"github.com/haldane-project/haldane/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
