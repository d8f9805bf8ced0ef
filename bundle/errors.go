package bundle

import (
	"fmt"
	"strconv"
	"strings"
)

// ConfigError reports an image config that is malformed: the image's fault,
// whoever asks for it.
type ConfigError struct {
	Field string // as in "config.Env", or "" for the document
	Want  string
	Got   string
	Err   error // may be nil
}

func (e *ConfigError) Error() string {
	at := "read image config"
	if e.Field != "" {
		at += ": " + e.Field
	}
	return at + ": " + expected(e.Want, e.Got, e.Err)
}

func (e *ConfigError) Unwrap() error { return e.Err }

// PlatformError reports an image for an operating system that no runtime on
// this machine can start.
type PlatformError struct {
	Want string // the operating system that works here
	Got  string // as the image says, with version where it has one
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("read image config: expected an image for %s, found one for %s; choose another with --platform",
		e.Want, e.Got)
}

// UserError reports that the user the container is to run as cannot be
// determined.
type UserError struct {
	User string // the whole specification, as in "app:staff"
	Part string // the part that failed
	Want string
	Got  string
}

func (e *UserError) Error() string {
	at := "look up user " + quoteShort(e.User)
	if e.Part != e.User {
		at += ": " + quoteShort(e.Part)
	}
	return at + ": " + expected(e.Want, e.Got, nil)
}

// UnmappedError reports a user or group ID that the container's user
// namespace does not have.
type UnmappedError struct {
	Kind   string // "user" or "group"
	ID     uint32
	Have   string // the IDs there are, as in "0, 1-65536"
	Remedy string // what to type; empty where the caller knows no better than this package
}

func (e *UnmappedError) Error() string {
	remedy := e.Remedy
	if remedy == "" {
		file := "/etc/subuid"
		if e.Kind == "group" {
			file = "/etc/subgid"
		}
		remedy = "give the calling user a larger range in " + file + ", as in NAME:100000:65536, and install newuidmap"
	}
	return fmt.Sprintf("map %s ID %d: the user namespace has %s; %s", e.Kind, e.ID, e.Have, remedy)
}

// RootError reports something in the root filesystem that cannot be used, or
// that no runtime would start.
type RootError struct {
	Path string // inside the root, absolute
	Want string
	Got  string
	Err  error // may be nil
}

func (e *RootError) Error() string {
	return fmt.Sprintf("read %s in the image: %s", e.Path, expected(e.Want, e.Got, e.Err))
}

func (e *RootError) Unwrap() error { return e.Err }

// MountError reports a bind that cannot be: the source is a file and the image
// has a directory in its place, or the other way round.
type MountError struct {
	Source, Kind string // Kind is what the source is, as in "a directory"
	Destination  string // in the container
	At           string // what is in the way, a path in the image
	Want, Got    string // kinds of file
}

func (e *MountError) Error() string {
	return fmt.Sprintf("mount %s (%s) on %s: expected %s at %s in the image, found %s", e.Source, e.Kind, e.Destination, e.Want, e.At, e.Got)
}

// OptionError reports an option of the caller that cannot be.
type OptionError struct {
	Option string // the flag's name without dashes, as in "cap-add"
	Value  string
	Want   string
	Err    error // may be nil, as fs.ErrNotExist
}

func (e *OptionError) Error() string {
	s := fmt.Sprintf("set --%s %s: expected %s", e.Option, strconv.Quote(e.Value), e.Want)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *OptionError) Unwrap() error { return e.Err }

// CommandError reports that neither the image nor the caller names a program.
type CommandError struct {
	// Cleared says that an empty entrypoint of the caller's took away what the
	// image has.
	Cleared bool
}

func (e *CommandError) Error() string {
	if e.Cleared {
		return `choose command: --entrypoint "" leaves neither Entrypoint nor Cmd; give the command after --`
	}
	return "choose command: the image has neither Entrypoint nor Cmd; give the command after --, or take its files alone with byhand unpack"
}

// ExistsError reports a directory that is not free to become a bundle.
type ExistsError struct {
	Path   string
	Bundle bool   // it is a whole bundle already
	Found  string // what is in the way, a name in Path
}

func (e *ExistsError) Error() string {
	if e.Bundle {
		return fmt.Sprintf("write bundle %s: it holds a %s already; remove it with byhand rm, or name another directory", e.Path, e.Found)
	}
	return fmt.Sprintf("write bundle %s: expected an empty directory, found %s in it; name another directory", e.Path, e.Found)
}

func expected(want, got string, err error) string {
	var parts []string
	if want != "" {
		parts = append(parts, "expected "+want)
	}
	if got != "" {
		parts = append(parts, "found "+got)
	}
	s := strings.Join(parts, ", ")
	if err == nil {
		return s
	}
	if s == "" {
		return err.Error()
	}
	return s + ": " + err.Error()
}
