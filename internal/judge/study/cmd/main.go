// Command cmd runs the judge's calibration study in full and writes its figures
// between the marks of docs/judge.md. Run it by `make judge-study`.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/haldane-project/haldane/internal/judge/study"
)

const (
	file  = "docs/judge.md"
	begin = "<!-- figures: written by make judge-study -->\n"
	end   = "<!-- end of figures -->\n"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "judge study:", err)
		os.Exit(1)
	}
}

func run() error {
	page, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("run it in the root of the repository: %w", err)
	}
	head, rest, ok1 := bytes.Cut(page, []byte(begin))
	_, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		return fmt.Errorf("%s lacks the marks %q and %q", file, begin, end)
	}
	var figures bytes.Buffer
	study.Write(&figures, study.Full)
	out := bytes.Join([][]byte{head, []byte(begin), figures.Bytes(), []byte(end), tail}, nil)
	return os.WriteFile(file, out, 0o600)
}
