// Command cmd runs the judge's calibration study and writes its figures between
// the marks of docs/judge.md and its plots to docs/judge. Run it by `make
// judge-study`; with -long it makes the long check of false rollbacks instead.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/haldane-project/haldane/internal/judge/study"
)

const (
	file  = "docs/judge.md"
	plots = "docs/judge"
)

func main() {
	long := flag.Bool("long", false, "check false rollbacks with 20,000 releases a cell, cell by cell")
	flag.Parse()
	run := figures
	if *long {
		run = check
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "judge study:", err)
		os.Exit(1)
	}
}

func figures() error {
	began := time.Now()
	if err := os.MkdirAll(plots, 0o750); err != nil {
		return err
	}
	s := study.Measure(study.Full)
	for name, svg := range s.Plots() {
		if err := os.WriteFile(filepath.Join(plots, name), []byte(svg), 0o600); err != nil {
			return err
		}
	}
	return write("figures", s.Markdown(), "make judge-study", began)
}

// check writes what is known after each cell, so that it can be stopped.
func check() (err error) {
	began := time.Now()
	study.LongNulls(study.Long, func(all []study.Null) {
		err = errors.Join(err, write("long check", study.LongMarkdown(all), "make judge-study LONG=1", began))
	})
	return err
}

// write puts a section between its marks and says which command wrote it.
func write(section, text, command string, began time.Time) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("run it in the root of the repository: %w", err)
	}
	begin, end := fmt.Sprintf("<!-- %s -->\n", section), fmt.Sprintf("<!-- end of %s -->\n", section)
	head, rest, ok1 := bytes.Cut(page, []byte(begin))
	_, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		return fmt.Errorf("%s lacks the marks %q and %q", file, begin, end)
	}
	text = fmt.Sprintf("*Written by `%s` on %s, in %s. Its seeds are fixed: the same code writes the same figures.*\n\n%s",
		command, began.Format("2 January 2006"), time.Since(began).Round(time.Second), text)
	return os.WriteFile(file, bytes.Join([][]byte{head, []byte(begin), []byte(text), []byte(end), tail}, nil), 0o600)
}
