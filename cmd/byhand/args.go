package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	if err := a.scan(argv[1:]); err != nil {
		return nil, err
	}
	out := append([]string{argv[0]}, a.globals...)
	if slices.Contains(a.globals, "--version") && !a.help && !a.amongArgs() { // wherever it is
		return out, nil
	}
	out = append(out, a.path...)
	if a.help { // whatever else is there
		return append(out, "--help"), nil
	}
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

	help bool // help COMMAND, or COMMAND --help
}

func (a *arranger) scan(argv []string) error {
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		switch {
		case arg == "--" && a.command == nil: // a command is no option anyway
		case arg == "--":
			a.rest = argv[i:]
			return nil
		case len(arg) > 1 && arg[0] == '-':
			n, err := a.option(argv[i:])
			if err != nil {
				return err
			}
			i += n - 1
		case arg == "help" && len(a.path) == 0:
			a.help = true
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
	arg := argv[0]
	name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	list, flag := a.lookup(name)
	switch {
	case list == nil && arg[1] != '-' && a.takesLetters(arg[1:]):
		return a.letters(argv)
	case list == nil:
		shown, _, _ := strings.Cut(arg, "=")
		return 0, a.errorf("unknown option %s%s", shown, a.insteadOf(name))
	case flag == nil && hasValue:
		return 0, a.errorf("option --%s takes no value%s", name, a.seeHelp())
	case flag == nil:
		a.help = true
		return 1, nil
	case hasValue:
		return 1, a.file(list, flag, value, true)
	case isBool(flag):
		return 1, a.file(list, flag, "", false)
	case len(argv) < 2:
		return 0, a.errorf("option %s needs a value%s", arg, a.seeHelp())
	}
	return 2, a.file(list, flag, argv[1], true)
}

// letters files several options of one letter behind one dash, as in ls -la.
// What follows one that takes a value is the value, as in -oFILE.
func (a *arranger) letters(argv []string) (int, error) {
	arg := argv[0]
	for i := 1; i < len(arg); i++ {
		list, flag := a.lookup(arg[i : i+1])
		switch {
		case list == nil:
			return 0, a.errorf("unknown option -%s in %s%s", arg[i:i+1], arg, a.insteadOf(arg[i:i+1]))
		case flag == nil:
			a.help = true
			continue
		case isBool(flag):
			if err := a.file(list, flag, "", false); err != nil {
				return 0, err
			}
			continue
		case i+1 < len(arg):
			return 1, a.file(list, flag, strings.TrimPrefix(arg[i+1:], "="), true)
		case len(argv) < 2:
			return 0, a.errorf("option -%s needs a value%s", arg[i:i+1], a.seeHelp())
		}
		return 2, a.file(list, flag, argv[1], true)
	}
	return 1, nil
}

// takesLetters tells whether letters are several options behind one dash: the
// first is one here, or is one of docker run, as in -it, and another one here.
func (a *arranger) takesLetters(letters string) bool {
	if a.takesLetter(letters[:1]) {
		return true
	}
	_, container := beforeArgs(a.command)
	return container && hintFor(letters[:1], runHabits) != "" && slices.ContainsFunc(strings.Split(letters[1:], ""), a.takesLetter)
}

// takesLetter tells whether there is an option of this letter.
func (a *arranger) takesLetter(letter string) bool {
	list, _ := a.lookup(letter)
	return list != nil
}

// file puts an option where it belongs, if its value is one that it can have.
func (a *arranger) file(list *[]string, flag cli.Flag, value string, hasValue bool) error {
	long := "--" + flag.Names()[0] // urfave/cli refuses --env and -e in one command
	if !hasValue {
		*list = append(*list, long)
		return nil
	}
	if _, err := strconv.ParseBool(value); isBool(flag) && err != nil {
		// What was given may be a password.
		return a.errorf("option %s takes no value but true or false%s", long, a.seeHelp())
	}
	if want := misfit(flag, value); want != "" {
		return a.errorf("option %s: expected %s, found %q", long, want, value)
	}
	*list = append(*list, long+"="+value)
	return nil
}

// misfit says what is expected of the flag's value, if value is something else.
func misfit(flag cli.Flag, value string) string {
	switch flag.(type) {
	case *cli.IntFlag:
		_, err := strconv.Atoi(value)
		if errors.Is(err, strconv.ErrRange) {
			return "a smaller number"
		}
		if err != nil {
			return "a whole number"
		}
	case *cli.DurationFlag:
		if _, err := time.ParseDuration(value); err != nil {
			return "a time, as in 30s or 5m"
		}
	}
	return ""
}

// errorf is a usage error that names the command, once it is known.
func (a *arranger) errorf(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if len(a.path) > 0 {
		text = strings.Join(a.path, " ") + ": " + text
	}
	return &usageError{text}
}

// seeHelp says where the options are listed, and that what comes so late may be
// none.
func (a *arranger) seeHelp() string {
	hint := ""
	if a.amongArgs() {
		hint = hintRest
	}
	return hint + "; see " + strings.Join(append([]string{"byhand", "help"}, a.path...), " ")
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
	if name == "help" || name == "h" {
		return &a.options, nil
	}
	return nil, nil
}

// hintRest is for who types a command line as docker takes it.
const hintRest = "; what the container's program gets follows --"

// insteadOf says what to type instead of the unknown option name.
func (a *arranger) insteadOf(name string) string {
	if a.amongArgs() {
		return a.seeHelp()
	}
	habits := otherHabits
	if _, container := beforeArgs(a.command); container {
		habits = slices.Concat(runHabits, otherHabits)
	}
	if hint := hintFor(name, habits); hint != "" {
		return ": " + hint
	}
	return a.similarOption(name)
}

// amongArgs says whether what comes next stands where people who know docker put
// ARGS: after more operands than the command has. An option there may be the
// container's program's.
func (a *arranger) amongArgs() bool {
	want, container := beforeArgs(a.command)
	return container && len(a.operands) > want
}

// beforeArgs says how many operands come before the ARGS of a command that
// takes some.
func beforeArgs(c *cli.Command) (n int, takesArgs bool) {
	if c == nil {
		return 0, false
	}
	_, usage, _ := strings.Cut(c.UsageText, "[OPTIONS] ")
	usage, _, takesArgs = strings.Cut(usage, " [-- ARGS…]")
	return len(strings.Fields(usage)), takesArgs
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
		if len(s) == 1 {
			return "; did you mean -" + s + "?" + a.seeHelp()[1:]
		}
		return "; did you mean --" + s + "?" + a.seeHelp()[1:]
	}
	return a.seeHelp()
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
	parent, last := "", name
	if i := strings.LastIndexByte(name, ' '); i >= 0 {
		parent, last = " "+name[:i], name[i+1:]
	}
	if hint := hintFor(name, commandHabits); hint != "" {
		return usagef("unknown command %q: %s", name, hint)
	}
	if s := closest(last, names); s != "" {
		return usagef("unknown command %q; did you mean %q?", name, s)
	}
	return usagef("unknown command %q; see byhand help%s", name, parent)
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
