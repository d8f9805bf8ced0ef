package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/internal/explain"
)

// streams are the process's own, so that tests can give others.
type streams struct {
	in       *os.File
	out, err *os.File
}

// run is the whole program: argv in, exit code out.
func run(ctx context.Context, argv []string, std streams) int {
	app := newApp(std)
	if n := len(argv) - 1; n > 0 && argv[n] == completeFlag {
		complete(ctx, app, argv[1:n], std)
		return exitOK
	}
	ordered, err := arrange(app, argv)
	if err == nil {
		err = app.RunContext(ctx, ordered)
	}
	if out, ok := app.Writer.(*checkedWriter); ok && err == nil {
		err = out.err
	}
	return report(ctx, std.err, err)
}

func newApp(std streams) *cli.App {
	app := &cli.App{
		Name:  "byhand",
		Usage: "run a container by hand: pull, verify, unpack, bundle",
		UsageText: "byhand [GLOBAL OPTIONS] COMMAND [OPTIONS] ARGS\n\n" +
			"byhand pull-and-unpack alpine ./alpine && runc run --bundle ./alpine demo",
		Version:                   version(),
		Flags:                     globalFlags(),
		Commands:                  commands(std),
		Reader:                    std.in,
		Writer:                    &checkedWriter{w: std.out},
		ErrWriter:                 io.Discard, // errors are printed once, by report
		DisableSliceFlagSeparator: true,       // a comma in --env A=1,2 is content
		HideHelpCommand:           true,
		HideVersion:               true, // -v is --volume
		OnUsageError:              asUsage,
		ExitErrHandler:            func(*cli.Context, error) {}, // report decides
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c.Args().First(), c.App.Commands)
			}
			if c.Bool("version") {
				_, err := fmt.Fprintln(c.App.Writer, "byhand version "+version())
				return err
			}
			return cli.ShowAppHelp(c)
		},
	}
	setHelp(app)
	return app
}

// checkedWriter keeps the first error of writing, of which the help's printer
// tells nobody.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil {
		err = fmt.Errorf("write standard output: %w", err)
		c.err = cmp.Or(c.err, err)
	}
	return n, err
}

func asUsage(_ *cli.Context, err error, _ bool) error { return &usageError{err.Error()} }

// release is set by the linker in what "make dist" builds.
var release string

// version is the release's, or the module's as the build recorded it.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func commands(std streams) []*cli.Command {
	list := []*cli.Command{
		pullCommand(std),
		unpackCommand(std),
		bundleCommand(std),
		pullAndUnpackCommand(std),
		overlayCommand(std),
		runCommand(std),
		inspectCommand(std),
		tagsCommand(std),
		historyCommand(std),
		layersCommand(std),
		diffCommand(std),
		lsCommand(std),
		catCommand(std),
		exportCommand(std),
		reportCommand(std),
		imagesCommand(std),
		removeCommand(std),
		pruneCommand(std),
		scriptCommand(std),
		verifyCommand(std),
		serveCommand(std),
		completionCommand(std),
		manCommand(std),
	}
	for _, c := range list {
		tidy(c)
	}
	return list
}

// tidy gives a command and those below it what all have in common.
func tidy(c *cli.Command) {
	c.HideHelpCommand = true
	c.OnUsageError = asUsage
	for _, sub := range c.Subcommands {
		tidy(sub)
	}
}

// call is one command's invocation: what its handler may use.
type call struct {
	flags *cli.Context
	std   streams
	args  []string // operands before "--"
	rest  []string // what follows "--"; nil without one

	explain *explain.Narrator // nil without --explain
}

// handler does the work of a command; it never sees the CLI object but
// for its flags.
type handler func(context.Context, *call) error

// operands says how many a command takes; max < 0 is any number.
type operands struct {
	min, max int
	rest     bool // "-- ARGS" may follow
}

// action checks the operands and hands over to h.
func action(std streams, want operands, h handler) cli.ActionFunc {
	return func(c *cli.Context) error {
		args, rest := splitRest(c.Args().Slice(), want.rest)
		name := strings.TrimPrefix(c.Command.HelpName, "byhand ")
		switch {
		case len(args) < want.min:
			return usagef("%s: missing operand; usage: %s", name, c.Command.UsageText)
		case want.rest && len(args) > want.max:
			return usagef("%s: unexpected operand %q%s; usage: %s", name, args[want.max], hintRest, c.Command.UsageText)
		case want.max >= 0 && len(args) > want.max:
			return usagef("%s: unexpected operand %q; usage: %s", name, args[want.max], c.Command.UsageText)
		}
		if slices.Contains(args, "") {
			return usagef("%s: empty operand; usage: %s", name, c.Command.UsageText)
		}
		err := explained(c.Context, &call{flags: c, std: std, args: args, rest: rest, explain: narrator(c, std.err)}, h)
		u, ok := errors.AsType[*usageError](err)
		if ok && u.reason == err.Error() && !strings.HasPrefix(u.reason, name+":") {
			return usagef("%s: %s", name, u.reason)
		}
		return err
	}
}

// splitRest cuts args at the "--" that ARGS follow, in a command that takes
// them; one with nothing after it is as good as none, so that a script may end
// a command with -- "$@". A "--" before the operands, and any in a command
// without ARGS, is that of POSIX, after which nothing is an option.
func splitRest(args []string, takesRest bool) (before, rest []string) {
	i := slices.Index(args, "--")
	if i == 0 || i > 0 && !takesRest {
		args = slices.Delete(slices.Clone(args), i, i+1)
		i = slices.Index(args, "--")
	}
	switch {
	case i < 0 || !takesRest:
		return args, nil
	case i == len(args)-1:
		return args[:i], nil
	}
	return args[:i], args[i+1:]
}

// println writes one line of a command's result.
func (c *call) println(a ...any) error {
	if _, err := fmt.Fprintln(c.std.out, a...); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

// usageError is a command line that makes no sense: exit code 2.
type usageError struct{ reason string }

func (e *usageError) Error() string { return e.reason }

func usagef(format string, a ...any) error { return &usageError{fmt.Sprintf(format, a...)} }

// codedError is an error with an exit code of its own.
type codedError struct {
	error
	code int
}

func (e *codedError) Unwrap() error { return e.error }

// silentError ends the program with code and no message of ours: the
// container's own failure.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit status %d", e.code) }
