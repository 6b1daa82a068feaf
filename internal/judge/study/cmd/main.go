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
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/judge/study"
)

const (
	file  = "docs/judge.md"
	plots = "docs/judge"
)

func main() {
	long := flag.Bool("long", false, "check false rollbacks with many releases a cell, cell by cell")
	part := flag.String("part", "", "run this part only: "+names())
	flag.Parse()
	run := func() error { return figures(*part) }
	if *long {
		run = func() error { return check(*part) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "judge study:", err)
		os.Exit(1)
	}
}

// names are those of the parts, and of the long checks.
func names() string {
	var out, long []string
	for _, p := range study.Parts {
		out = append(out, p.Name)
	}
	for _, c := range study.LongChecks {
		long = append(long, c.Name)
	}
	return strings.Join(out, ", ") + "; with -long " + strings.Join(long, ", ")
}

// figures runs one part, or all of them if none is named.
func figures(only string) error {
	if err := os.MkdirAll(plots, 0o750); err != nil {
		return err
	}
	known := only == ""
	for _, p := range study.Parts {
		if only != "" && p.Name != only {
			continue
		}
		known = true
		text, drawn := p.Run(study.Full)
		for name, svg := range drawn {
			if err := os.WriteFile(filepath.Join(plots, name), []byte(svg), 0o600); err != nil {
				return err
			}
		}
		if err := write(p.Name, text, "make judge-study PART="+p.Name); err != nil {
			return err
		}
	}
	if !known {
		return fmt.Errorf("there is no part %q: expected one of %s", only, names())
	}
	return nil
}

// check makes one long check, or all of them if none is named, and writes what is
// known after each cell, so that it can be stopped.
func check(only string) (err error) {
	known := only == ""
	for _, c := range study.LongChecks {
		if only != "" && c.Name != only {
			continue
		}
		known = true
		c.Run(func(text string) {
			err = errors.Join(err, write("long "+c.Name, text, "make judge-study LONG=1 PART="+c.Name))
		})
	}
	if !known {
		return fmt.Errorf("there is no long check %q: expected one of %s", only, names())
	}
	return err
}

// write puts a section between its marks and says which command wrote it.
func write(section, text, command string) error {
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
	text = fmt.Sprintf("*Written by `%s` on %s. Its seeds are fixed: the same code writes the same figures.*\n\n%s",
		command, time.Now().Format("2 January 2006"), text)
	return os.WriteFile(file, bytes.Join([][]byte{head, []byte(begin), []byte(text), []byte(end), tail}, nil), 0o600)
}
