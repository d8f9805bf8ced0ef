package ociruntime

import (
	"context"
	"encoding/json"
	"os"
)

// Options for [Run].
type Options struct {
	// Runtime is a program name or path; empty means the first of runc,
	// crun and youki that is installed.
	Runtime string
	// Bundle is the directory with config.json.
	Bundle string
	// ID names the container for the runtime; empty means a random one.
	ID string
	// Prepare is handed, as JSON, to the [PrepareFunc] of [Inner] inside the
	// private mount namespace, before the runtime starts. nil: nothing to do.
	Prepare any
	// Stdin, Stdout and Stderr are the container's; nil means /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Observe, when not nil, is told of the plan before anything is started.
	Observe func(Plan)
	// StateDir holds the records of runs; empty means /run/byhand for root,
	// else $XDG_RUNTIME_DIR/byhand, else a directory in /tmp.
	StateDir string
}

// Plan is what Run is about to do.
type Plan struct {
	Runtime, Bundle, ID string // both paths absolute
	Terminal            bool   // the container gets a terminal of its own
	Private             bool   // in a mount namespace of its own
	PIDNS               bool   // in a pid namespace of its own, besides the container's
}

// PrepareFunc makes the bundle ready inside the private mount namespace.
// request is [Options].Prepare as JSON. What it mounts vanishes with the
// namespace. ctx ends when the run is given up.
type PrepareFunc func(ctx context.Context, request json.RawMessage) error
