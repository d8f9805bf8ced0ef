package ociruntime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/ociruntime"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/userns"
)

// TestMain lets the test binary be what byhand is to a user: first of all the
// supervisor or the child in a user namespace, and with "run" as its first
// argument a program that runs a bundle.
func TestMain(m *testing.M) {
	if code, ok := ociruntime.Inner(os.Args, prepare); ok {
		os.Exit(code)
	}
	if code, ok := userns.Child(os.Args); ok {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == "run" {
		os.Exit(runMain(os.Args[2]))
	}
	testneed.HeedSignals()
	os.Exit(m.Run())
}

// spec is what the run program is told.
type runSpec struct {
	Runtime, Bundle, ID, StateDir string
	Prepare                       *mountRequest
	Enter                         bool // a user namespace first
}

// mountRequest asks for an overlay of lower on the bundle's rootfs, or for a
// failure.
type mountRequest struct {
	Lower, Upper, Work, Target string
	User                       bool
	Fail                       string
	Hang                       bool
}

func prepare(ctx context.Context, raw json.RawMessage) error {
	var r mountRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	if r.Fail != "" {
		return errors.New(r.Fail)
	}
	if r.Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", r.Lower, r.Upper, r.Work)
	if r.User {
		data += ",userxattr"
	}
	return unix.Mount("overlay", r.Target, "overlay", 0, data)
}

func runMain(arg string) int {
	var s runSpec
	if err := json.NewDecoder(strings.NewReader(arg)).Decode(&s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	if s.Enter {
		st, err := userns.Inspect()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 99
		}
		if st.NeedsEnter() {
			code, err := userns.Enter(context.Background(), userns.Options{})
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 99
			}
			return code
		}
	}
	o := ociruntime.Options{
		Runtime: s.Runtime, Bundle: s.Bundle, ID: s.ID, StateDir: s.StateDir,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if s.Prepare != nil {
		o.Prepare = s.Prepare
	}
	code, err := ociruntime.Run(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "byhand:", err)
	}
	return code
}
