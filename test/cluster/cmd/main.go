// Command cluster builds the programs of a test cluster, and starts and stops a
// full one that outlives it:
//
//	go run ./test/cluster/cmd build [PROGRAM...]
//	go run ./test/cluster/cmd up
//	go run ./test/cluster/cmd down
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
	if len(args) == 0 {
		args = []string{""}
	}
	switch args[0] {
	case "build":
		names := args[1:]
		if len(names) == 0 {
			names = cluster.Programs()
		}
		paths, err := cluster.Build(names...)
		if err == nil {
			fmt.Println(strings.Join(paths, "\n"))
		}
		return err
	case "up":
		kubectl, err := cluster.Build("kubectl")
		if err != nil {
			return err
		}
		kubeconfig, err := cluster.Up()
		if err == nil {
			fmt.Printf("export KUBECONFIG=%s\nalias kubectl=%s\n", kubeconfig, kubectl[0])
		}
		return err
	case "down":
		return cluster.Down()
	default:
		return fmt.Errorf("expected build [PROGRAM...], up or down; programs are %s", strings.Join(cluster.Programs(), ", "))
	}
}
