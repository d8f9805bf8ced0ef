package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/heed"
	"github.com/byhand/byhand/internal/serve"
	"github.com/byhand/byhand/internal/tempfile"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
	"github.com/byhand/byhand/unpack"
)

// The exit codes; docs/cli.md has the same table.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitVerification = 3
	exitNotFound     = 4
	exitUnauthorized = 5
	exitUnreachable  = 6
	exitStorage      = 7
	exitSignal       = 128 // and the signal's number, as a shell says it
)

// report prints err as one line and returns the exit code for it.
func report(ctx context.Context, stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if s, ok := errors.AsType[*silentError](err); ok {
		return s.code
	}
	if sig := interrupted(ctx, err); sig != 0 {
		by := ""
		if sig != syscall.SIGINT {
			by = " by " + unix.SignalName(sig)
		}
		_, _ = fmt.Fprintf(stderr, "byhand: interrupted%s; what was finished is kept, the same command goes on from there\n", by)
		return exitSignal + int(sig)
	}
	_, _ = fmt.Fprintf(stderr, "byhand: %s%s\n", oneLine(err.Error()), cmp.Or(limitRemedy(err), filesRemedy(err)))
	return exitCode(err)
}

// filesRemedy says where the limit comes from that err has met, if it is that of
// open files. The soft one the Go runtime has raised as far as it goes.
func filesRemedy(err error) string {
	var l unix.Rlimit
	if !errors.Is(err, syscall.EMFILE) || unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return ""
	}
	return fmt.Sprintf("; byhand may have no more than %d files open (ulimit -Hn); 1024 are usually enough", l.Max)
}

// interrupted returns the signal that ended the command, 0 if none did.
func interrupted(ctx context.Context, err error) syscall.Signal {
	by, ok := errors.AsType[*heed.SignalError](context.Cause(ctx))
	if !ok || !errors.Is(err, context.Canceled) {
		return 0
	}
	return by.Signal
}

// oneLine keeps an error on one line and free of control characters: parts
// of it may come from a registry or a layer. Of one that is longer than
// anybody reads, such as the name of a hostile entry, it keeps both ends.
func oneLine(s string) string {
	const most = 4 << 10
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most/2]+" … "+s[len(s)-most/2:], "")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r): // also what turns the direction of writing round
			return '\uFFFD'
		}
		return r
	}, strings.TrimSpace(s))
}

// exitCode finds the row of the table that err belongs to. Storage comes
// before verification: a layer entry that met a full disk is no bad layer.
func exitCode(err error) int {
	if c, ok := errors.AsType[*codedError](err); ok {
		return c.code
	}
	switch {
	case isAny[*usageError](err), isAny[*pull.ReferenceError](err):
		return exitUsage
	case isAny[*bundle.OptionError](err) && errors.Is(err, fs.ErrNotExist): // --volume of something that is not there
		return exitNotFound
	case isAny[*bundle.OptionError](err):
		return exitUsage
	case isAny[*pull.DigestError](err), isAny[*pull.SizeError](err), isAny[*pull.LimitError](err), isAny[*pull.FormatError](err),
		isAny[*overlay.DigestError](err), isAny[*overlay.RebuildError](err), isAny[*overlay.SizeError](err):
		return exitVerification
	case isAny[*pull.NotFoundError](err), isAny[*pull.PlatformError](err),
		isAny[*bundle.PlatformError](err), isAny[*overlay.NotFoundError](err):
		return exitNotFound
	case isAny[*pull.AuthError](err):
		return exitUnauthorized
	case isAny[*pull.UnreachableError](err), isAny[*pull.StatusError](err):
		return exitUnreachable
	case isAny[*overlay.SpaceError](err), isAny[*overlay.CorruptError](err), isAny[*tempfile.Error](err), isStorage(err):
		return exitStorage
	case isAny[*unpack.FormatError](err), isAny[*unpack.LimitError](err), isAny[*unpack.EntryError](err),
		isAny[*bundle.ConfigError](err), isAny[*bundle.RootError](err), isAny[*serve.FormatError](err):
		return exitVerification
	case errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	}
	return exitFailure
}

func isAny[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// isStorage tells the errors of a local file system that refuses or fails.
func isStorage(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains([]syscall.Errno{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EACCES, syscall.EPERM,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ESTALE, syscall.EUCLEAN, syscall.EFBIG,
	}, errno)
}
