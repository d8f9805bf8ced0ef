package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/heed"
)

// TestReportSignals: a command that a signal ended says which one in its exit
// code, as a shell does; one that failed by itself, or came to its end before
// the signal meant anything, has its own.
func TestReportSignals(t *testing.T) {
	canceled := fmt.Errorf("read layer: %w", context.Canceled)
	tests := map[string]struct {
		cause error // why the command was to end; nil if nothing said so
		err   error
		code  int
		says  string
	}{
		"SIGINT":             {&heed.SignalError{Signal: syscall.SIGINT}, canceled, 130, "byhand: interrupted; what"},
		"SIGTERM":            {&heed.SignalError{Signal: syscall.SIGTERM}, canceled, 143, "byhand: interrupted by SIGTERM; what"},
		"SIGHUP":             {&heed.SignalError{Signal: syscall.SIGHUP}, canceled, 129, "byhand: interrupted by SIGHUP; what"},
		"the cause itself":   {&heed.SignalError{Signal: syscall.SIGTERM}, &heed.SignalError{Signal: syscall.SIGTERM}, 143, "interrupted"},
		"failed on its own":  {&heed.SignalError{Signal: syscall.SIGTERM}, errors.New("bad luck"), 1, "byhand: bad luck"},
		"done":               {&heed.SignalError{Signal: syscall.SIGTERM}, nil, 0, ""},
		"none":               {nil, canceled, 1, "byhand: read layer: context canceled"},
		"a container's code": {&heed.SignalError{Signal: syscall.SIGTERM}, &silentError{3}, 3, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			if tt.cause != nil {
				cancel(tt.cause)
			}
			defer cancel(nil)
			below, stop := context.WithCancel(ctx) // as those of its goroutines
			defer stop()
			for _, ctx := range []context.Context{ctx, below} {
				var stderr strings.Builder
				if code := report(ctx, &stderr, tt.err); code != tt.code {
					t.Errorf("exit code %d, want %d", code, tt.code)
				}
				if !strings.Contains(stderr.String(), tt.says) || (tt.says == "") != (stderr.Len() == 0) {
					t.Errorf("said %q, want %q", &stderr, tt.says)
				}
			}
		})
	}
}

// TestFilesRemedy: who has too few files to open hears of the limit.
func TestFilesRemedy(t *testing.T) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	for err, want := range map[error]string{
		syscall.EMFILE: fmt.Sprintf("no more than %d files open (ulimit -Hn)", l.Max),
		syscall.ENOSPC: "",
	} {
		var stderr strings.Builder
		if code := report(t.Context(), &stderr, &fs.PathError{Op: "open", Path: "/f", Err: err}); code != exitStorage {
			t.Errorf("%v: exit code %d", err, code)
		}
		if got := stderr.String(); !strings.Contains(got, want) || strings.Contains(got, "ulimit") != (want != "") {
			t.Errorf("%v: said %q, want %q", err, got, want)
		}
	}
}
