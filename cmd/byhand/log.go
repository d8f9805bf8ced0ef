package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Levels of --log-level, graver ones first.
const (
	levelError = iota
	levelWarn
	levelInfo
	levelDebug
)

func levels() []string { return []string{"error", "warn", "info", "debug"} }

func (s *session) checkLevel() error {
	if !slices.Contains(levels(), s.flags.String("log-level")) {
		return usagef("--log-level %q: expected one of %s", s.flags.String("log-level"), strings.Join(levels(), ", "))
	}
	return nil
}

// quiet tells whether -q was given, before the command or after it.
func (c *call) quiet() bool {
	return slices.ContainsFunc(c.flags.Lineage(), func(f *cli.Context) bool { return f.Bool("quiet") })
}

func (s *session) log(level int, line string) {
	at := slices.Index(levels(), s.flags.String("log-level"))
	if s.quiet() {
		at = levelError
	}
	if level <= at {
		s.show.say("byhand: " + oneLine(line))
	}
}

// tell is log for what a narration tells in its own words.
func (s *session) tell(level int, line string) {
	if s.explain == nil {
		s.log(level, line)
	}
}

// warn says a thing once.
func (s *session) warn(line string) {
	if _, again := s.said.LoadOrStore(line, true); !again {
		s.log(levelWarn, "warning: "+line)
	}
}
