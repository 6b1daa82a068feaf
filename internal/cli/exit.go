package cli

import (
	"context"
	"errors"

	"github.com/haldane-project/haldane/internal/client"
)

// The exit codes; `haldane help exit-codes` explains them.
const (
	exitOK         = 0
	exitError      = 1
	exitRolledBack = 2
	exitTimeout    = 3
	exitDenied     = 4
	exitSuperseded = 6
	exitUsage      = 64
	exitBadInput   = 65
	exitInterrupt  = 130
)

// coded is an error with an exit code of its own.
type coded struct {
	code int
	err  error
}

func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

// silent ends a command with a code and no further words.
type silent struct{ code int }

func (s *silent) Error() string { return "" }

func usageError(err error) error { return &coded{exitUsage, err} }

func exitCode(err error) int {
	var c *coded
	var s *silent
	switch {
	case errors.As(err, &s):
		return s.code
	case errors.As(err, &c):
		return c.code
	case client.IsUnauthorized(err):
		return exitDenied
	case client.IsInvalid(err):
		return exitBadInput
	case errors.Is(err, context.Canceled):
		return exitInterrupt
	default:
		return exitError
	}
}
