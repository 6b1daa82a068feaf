// Command cluster builds the programs of a test cluster, and starts and stops a
// full one:
//
//	go run ./test/cluster/cmd build [PROGRAM...]
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/haldane-project/haldane/test/cluster"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == "build" {
		names := args[1:]
		if len(names) == 0 {
			names = cluster.Programs()
		}
		paths, err := cluster.Build(names...)
		if err == nil {
			fmt.Println(strings.Join(paths, "\n"))
		}
		return err
	}
	return fmt.Errorf("expected build [PROGRAM...]; programs are %s", strings.Join(cluster.Programs(), ", "))
}
