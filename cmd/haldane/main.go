// Command haldane releases new versions of a service safely. All of it is in
// internal/cli.
package main

import (
	"os"
	_ "time/tzdata" // windows of gates name zones, and a bare image has no database of them

	"github.com/haldane-project/haldane/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
