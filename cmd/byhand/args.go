package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange returns argv in the order urfave/cli understands: global options,
// command, its options, "--", operands. People write options after
// operands, and global options after the command, as docker, podman and
// GNU programs let them; a flag parser that stops at the first operand
// would take those for operands.
//
// A "--" of the user's ends the options; it and all that follows stay as
// they are, as the last operands.
func arrange(app *cli.App, argv []string) ([]string, error) {
	a := arranger{global: app.Flags, commands: app.Commands}
	args := argv[1:]
	if len(args) > 0 && args[0] == "help" { // help COMMAND is COMMAND --help
		args = append(slices.Clone(args[1:]), "--help")
	}
	if err := a.scan(args); err != nil {
		return nil, err
	}
	out := append([]string{argv[0]}, a.globals...)
	out = append(out, a.path...)
	out = append(out, a.options...)
	if len(a.operands)+len(a.rest) > 0 {
		if len(a.path) > 0 {
			out = append(out, "--")
		}
		out = append(append(out, a.operands...), a.rest...)
	}
	return out, nil
}

type arranger struct {
	global   []cli.Flag
	commands []*cli.Command // that may come next
	command  *cli.Command   // found so far

	globals, path, options, operands, rest []string
}

func (a *arranger) scan(argv []string) error {
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		switch {
		case arg == "--":
			a.rest = argv[i:]
			return nil
		case len(arg) > 1 && arg[0] == '-':
			n, err := a.option(argv[i:])
			if err != nil {
				return err
			}
			i += n - 1
		case a.step(arg):
		case a.command == nil && len(a.path) == 0:
			return unknownCommand(arg, a.commands)
		case a.command != nil && len(a.command.Subcommands) > 0 && len(a.operands) == 0:
			return unknownCommand(a.command.Name+" "+arg, a.command.Subcommands)
		default:
			a.operands = append(a.operands, arg)
		}
	}
	return nil
}

// step goes down to the command called name, if there is one here.
func (a *arranger) step(name string) bool {
	if len(a.operands) > 0 {
		return false
	}
	for _, c := range a.commands {
		if c.HasName(name) {
			a.command, a.commands = c, c.Subcommands
			a.path = append(a.path, name)
			return true
		}
	}
	return false
}

// option files the option that argv starts with, and returns how many
// arguments it took: two when its value is the next one.
func (a *arranger) option(argv []string) (int, error) {
	name, value, hasValue := strings.Cut(strings.TrimLeft(argv[0], "-"), "=")
	list, flag := a.lookup(name)
	if list == nil && a.letters(argv[0]) {
		return 1, nil
	}
	if list == nil {
		return 0, usagef("unknown option %s%s", argv[0], a.similarOption(name))
	}
	if flag == nil {
		*list = append(*list, argv[0])
		return 1, nil
	}
	long := "--" + flag.Names()[0] // urfave/cli refuses --env and -e in one command
	switch {
	case hasValue:
		*list = append(*list, long+"="+value)
		return 1, nil
	case isBool(flag):
		*list = append(*list, long)
		return 1, nil
	case len(argv) < 2:
		return 0, usagef("option %s needs a value", argv[0])
	}
	*list = append(*list, long, argv[1])
	return 2, nil
}

// letters files several switches of one letter behind one dash, as in ls -la.
func (a *arranger) letters(arg string) bool {
	names := strings.Split(arg[1:], "")
	for _, name := range names {
		if list, flag := a.lookup(name); list == nil || flag == nil || !isBool(flag) {
			return false
		}
	}
	for _, name := range names {
		list, flag := a.lookup(name)
		*list = append(*list, "--"+flag.Names()[0])
	}
	return true
}

// lookup finds the flag called name: the command's own first, then the
// global ones. A nil flag with a list is one urfave/cli knows by itself.
func (a *arranger) lookup(name string) (*[]string, cli.Flag) {
	if a.command != nil {
		for _, f := range a.command.Flags {
			if slices.Contains(f.Names(), name) {
				return &a.options, f
			}
		}
	}
	for _, f := range a.global {
		if slices.Contains(f.Names(), name) {
			return &a.globals, f
		}
	}
	switch name {
	case "help", "h":
		if a.command != nil {
			return &a.options, nil
		}
		return &a.globals, nil
	}
	return nil, nil
}

func (a *arranger) similarOption(name string) string {
	var names []string
	flags := a.global
	if a.command != nil {
		flags = append(slices.Clone(a.command.Flags), flags...)
	}
	for _, f := range flags {
		names = append(names, f.Names()...)
	}
	if s := closest(name, names); s != "" {
		return "; did you mean --" + s + "?"
	}
	return "; see --help"
}

func isBool(f cli.Flag) bool {
	b, ok := f.(interface{ IsBoolFlag() bool })
	if ok {
		return b.IsBoolFlag()
	}
	d, ok := f.(cli.DocGenerationFlag)
	return ok && !d.TakesValue()
}

func unknownCommand(name string, commands []*cli.Command) error {
	var names []string
	for _, c := range commands {
		names = append(names, c.Names()...)
	}
	last := name[strings.LastIndexByte(name, ' ')+1:]
	if s := closest(last, names); s != "" {
		return usagef("unknown command %q; did you mean %q?", name, s)
	}
	return usagef("unknown command %q; see byhand --help", name)
}

// closest returns the name within two edits of word, or "".
func closest(word string, names []string) string {
	best, at := "", 3
	for _, n := range names {
		if d := editDistance(word, n); d < at && d < len(n) {
			best, at = n, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := prev
			if a[i-1] != b[j-1] {
				cost++
			}
			prev = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
