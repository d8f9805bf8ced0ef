package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// TestHelp reads the help of every command: it fits a terminal, has an example
// that names a command there is, and says where to go on.
func TestHelp(t *testing.T) {
	app := newApp(streams{})
	var each func(path []string, commands []*cli.Command)
	each = func(path []string, commands []*cli.Command) {
		for _, c := range commands {
			args := append(path[:len(path):len(path)], c.Name)
			checkHelp(t, append(args, "--help"))
			checkHelp(t, append([]string{"help"}, args...))
			each(args, c.Subcommands)
		}
	}
	each(nil, app.Commands)
	checkHelp(t, []string{"--help"})
	checkHelp(t, nil)
}

func checkHelp(t *testing.T, args []string) {
	t.Helper()
	out, log, code := command(t, args...)
	if code != 0 || log != "" {
		t.Errorf("%v: exit code %d, %s", args, code, log)
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > helpWidth || strings.TrimRight(line, " ") != line {
			t.Errorf("%v: %q", args, line)
		}
	}
	example := regexp.MustCompile(`(?m)^ {3,6}(?:eval "\$\()?byhand [a-z-]+ .*`).FindString(strings.Replace(out, "USAGE:\n   byhand", "", 1))
	if example == "" {
		t.Errorf("%v: no example:\n%s", args, out)
	}
	for _, section := range []string{"NAME:\n   byhand", "USAGE:\n   byhand ", "byhand help"} {
		if !strings.Contains(out, section) {
			t.Errorf("%v: no %q:\n%s", args, section, out)
		}
	}
	if strings.Contains(out, "default: false") || strings.Contains(out, "`") {
		t.Errorf("%v:\n%s", args, out)
	}
}
