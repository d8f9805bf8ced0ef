package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/testneed"
)

func TestArrange(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"as documented", "--store S pull alpine", "--store=S pull -- alpine"},
		{"option after operands", "pull-and-unpack alpine DIR --rootfs flat", "pull-and-unpack --rootfs=flat -- alpine DIR"},
		{"global option after command", "pull --platform linux/arm64 alpine", "--platform=linux/arm64 pull -- alpine"},
		{"value with equals sign", "pull alpine --tls-verify=false", "--tls-verify=false pull -- alpine"},
		{"boolean takes no value", "inspect --raw alpine", "inspect --raw -- alpine"},
		{"rest stays", "run --tty alpine -- sh -c --tty", "run --tty -- alpine -- sh -c --tty"},
		{"option value looks like an option", "run --entrypoint --x alpine", "run --entrypoint=--x -- alpine"},
		{"short alias", "run -e A=1 alpine", "run --env=A=1 -- alpine"},
		{"both forms of one option", "run -e A=1 --env B=2 alpine", "run --env=A=1 --env=B=2 -- alpine"},
		{"letters behind one dash", "ls -la alpine -Rd", "ls --long --all --recursive --directory -- alpine"},
		{"value behind a letter", "export -otar alpine", "export --output=tar -- alpine"},
		{"value after letters", "run -e=A=1 -uroot -w /srv alpine", "run --env=A=1 --user=root --workdir=/srv -- alpine"},
		{"letters and a value", "--json=true ls -lf X alpine", "--json=true ls --long --format=X -- alpine"},
		{"given twice", "--jobs 2 pull --jobs 3 alpine --limit a=1 --limit b=2", "--jobs=2 --jobs=3 --limit=a=1 --limit=b=2 pull -- alpine"},
		{"empty value", "run --entrypoint= alpine", "run --entrypoint= -- alpine"},
		{"negative number", "--jobs -1 pull alpine", "--jobs=-1 pull -- alpine"},
		{"end of options before a command", "-- pull alpine", "pull -- alpine"},
		{"end of options", "pull -- --odd", "pull -- -- --odd"},
		{"help of help", "help help", "--help"},
		{"help, short", "overlay mount DIR -h", "overlay mount --help"},
		{"help instead of all else", "pull --help alpine -- x", "pull --help"},
		{"help after options", "--store S help pull", "--store=S pull --help"},
		{"help among letters", "ls -lh alpine", "ls --help"},
		{"subcommand", "overlay mount DIR --read-only", "overlay mount --read-only -- DIR"},
		{"dash is an operand", "export alpine -o -", "export --output=- -- alpine"},
		{"command name as operand", "pull pull", "pull -- pull"},
		{"help of a command", "pull --help", "pull --help"},
		{"help by name", "help overlay mount", "overlay mount --help"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := arrange(newApp(streams{}), append([]string{"byhand"}, strings.Fields(tc.in)...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]string{"byhand"}, strings.Fields(tc.want)...), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSplitRest(t *testing.T) {
	for _, tc := range []struct {
		in           string
		takesRest    bool
		before, rest string
	}{
		{"alpine", true, "alpine", ""},
		{"alpine -- sh -c x", true, "alpine", "sh -c x"},
		{"alpine --", true, "alpine", ""},
		{"-- alpine -- sh", true, "alpine", "sh"},
		{"-- alpine", true, "alpine", ""},
		{"alpine -- env -- sh", true, "alpine", "env -- sh"},
		{"-- alpine", false, "alpine", ""},
		{"alpine -- -x", false, "alpine -x", ""},
		{"alpine --", false, "alpine", ""},
		{"-- alpine --", false, "alpine --", ""},
		{"", true, "", ""},
		{"--", true, "", ""},
	} {
		t.Run(tc.in, func(t *testing.T) {
			before, rest := splitRest(strings.Fields(tc.in), tc.takesRest)
			if got := strings.Join(before, " "); got != tc.before {
				t.Errorf("got operands %q, want %q", got, tc.before)
			}
			if got := strings.Join(rest, " "); got != tc.rest || (rest == nil) != (tc.rest == "") {
				t.Errorf("got arguments %q, want %q", got, tc.rest)
			}
		})
	}
}

func TestArrangeErrors(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"pul alpine", `unknown command "pul"; did you mean "pull"?`},
		{"frobnicate", `unknown command "frobnicate"; see byhand help`},
		{"pull --plattform x alpine", `pull: unknown option --plattform; did you mean --platform? see byhand help pull`},
		{"pull alpine --store", `pull: option --store needs a value; see byhand help pull`},
		{"overlay mont DIR", `unknown command "overlay mont"; did you mean "mount"?`},
		{"pull --rootfs flat alpine", `pull: unknown option --rootfs; see byhand help pull`},
		{"--nothing", `unknown option --nothing; see byhand help`},
		{"--x pull", `unknown option --x; see byhand help`},
		{"---store x pull", `unknown option ---store; did you mean --store? see byhand help`},
		{"--=secret pull", `unknown option --; see byhand help`},
		{"--password=secret pull", `unknown option --password: what podman login or docker login keeps is found; --creds-stdin reads USER:PASSWORD`},
		{"overlay melt DIR", `unknown command "overlay melt"; see byhand help overlay`},
		{"run --rm alpine", `run: unknown option --rm: a run leaves nothing behind without it`},
		{"run -it alpine sh", `run: unknown option -i in -it: the container has your standard input and output without it; -t gives it a terminal`},
		{"run -ti alpine", `run: unknown option -i in -ti: the container has your standard input and output without it; -t gives it a terminal`},
		{"run -itd alpine", `run: unknown option -i in -itd: the container has your standard input and output without it; -t gives it a terminal`},
		{"run -p 80:80 alpine", `run: unknown option -p: no bridge forwards ports; with --network host the container has the machine's`},
		{"run --net=host alpine", `run: unknown option --net: it is --network`},
		{"pull --rm alpine", `pull: unknown option --rm; see byhand help pull`},
		{"pull --arch arm64 alpine", `pull: unknown option --arch: --platform OS/ARCH[/VARIANT] chooses`},
		{"run alpine ls -l", `run: unknown option -l; what the container's program gets follows --; see byhand help run`},
		{"run alpine id -u", `run: option -u needs a value; what the container's program gets follows --; see byhand help run`},
		{"run alpine tar -tw", `run: option -w needs a value; what the container's program gets follows --; see byhand help run`},
		{"run --init alpine", `run: unknown option --init: nothing is put before the container's program; an init that the image has can come first after --`},
		{"bundle alpine box sh -c x", `bundle: unknown option -c; what the container's program gets follows --; see byhand help bundle`},
		{"bundle alpine box -c", `bundle: unknown option -c; see byhand help bundle`},
		{"version", `unknown command "version": it is byhand --version`},
		{"exec box sh", `unknown command "exec": byhand keeps no containers, byhand run ends with its own; for one that stays, byhand bundle IMAGE DIR, then runc`},
		{"overlay mount --red-only DIR", `overlay mount: unknown option --red-only; did you mean --read-only? see byhand help overlay mount`},
		{"ls -lX alpine", `ls: unknown option -X in -lX; see byhand help ls`},
		{"ls -X alpine", `ls: unknown option -X; see byhand help ls`},
		{"export alpine -o", `export: option -o needs a value; see byhand help export`},
		{"ls -lf", `ls: option -f needs a value; see byhand help ls`},
		{"pull --help=yes", `pull: option --help takes no value; see byhand help pull`},
		{"--creds-stdin=jo:secret pull", `option --creds-stdin takes no value but true or false; see byhand help`},
		{"pull --tls-verify= alpine", `pull: option --tls-verify takes no value but true or false; see byhand help pull`},
		{"--jobs x pull", `option --jobs: expected a whole number, found "x"`},
		{"--jobs= pull", `option --jobs: expected a whole number, found ""`},
		{"--jobs 99999999999999999999 pull", `option --jobs: expected a smaller number, found "99999999999999999999"`},
		{"ls --layer alpine", `ls: option --layer: expected a whole number, found "alpine"`},
		{"serve --token-life 5", `serve: option --token-life: expected a time, as in 30s or 5m, found "5"`},
	} {
		t.Run(tc.in, func(t *testing.T) {
			_, err := arrange(newApp(streams{}), append([]string{"byhand"}, strings.Fields(tc.in)...))
			var usage *usageError
			if !errors.As(err, &usage) {
				t.Fatalf("got error %v, want a usage error", err)
			}
			if strings.Contains(usage.reason, "secret") || usage.reason != tc.want {
				t.Errorf("got %q, want %q", usage.reason, tc.want)
			}
		})
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "500": 500, "64M": 64 << 20, "64m": 64 << 20, "10G": 10 << 30, "2K": 2048, "1T": 1 << 40,
		"": 0, "0": 0, "-1": 0, "G": 0, "9999999999999T": 0, "1.5G": 0, "5+": 0, "5k ": 0,
	} {
		got, err := parseSize(in)
		if (err == nil) != (want > 0) || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

func TestParseLimits(t *testing.T) {
	l, err := parseLimits([]string{"metadata=8M", "Stall=1m30s", "entries=7"})
	if err != nil {
		t.Fatal(err)
	}
	if l.pull.Metadata != 8<<20 || l.retry.Stall.Seconds() != 90 || l.unpack.Entries != 7 {
		t.Errorf("limits not set: %+v", l)
	}
	for _, bad := range []string{"metadata", "metadata=", "nosuch=1", "stall=5", "stall=-5s", "entries=0"} {
		if _, err := parseLimits([]string{bad}); exitCode(err) != exitUsage {
			t.Errorf("parseLimits(%q): got %v, want a usage error", bad, err)
		}
	}
}

func TestOneLine(t *testing.T) {
	in := "a\nb\tc\x1b[31md\u0085e\xff\u202ef\u2028g"
	if got := oneLine(in); strings.ContainsAny(got, "\n\t\x1b\u0085\u202e\u2028") {
		t.Errorf("oneLine(%q) = %q", in, got)
	}
	long := "read " + strings.Repeat("ü", 1<<20) + ": it is too long"
	if got := oneLine(long); len(got) > 5000 || !strings.HasPrefix(got, "read ") || !strings.HasSuffix(got, ": it is too long") || !utf8.ValidString(got) {
		t.Errorf("of %d bytes there remain %d: %.20q", len(long), len(got), got)
	}
}

// TestTable shows what an image says of itself without its control characters.
func TestTable(t *testing.T) {
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	s := &session{call: &call{std: streams{out: out, err: out}}, show: &quietProgress{w: out}}
	if err := s.table([]string{"IMAGE", "PLATFORM"}, [][]string{{"a", "linux/amd64\x1b[2J\n"}}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out.Name())
	if err != nil || strings.Count(string(got), "\n") != 2 || strings.Contains(string(got), "\x1b") {
		t.Errorf("table: %q, %v", got, err)
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 3456789: "3.5 MB", 99_960_000: "100 MB", 999_999: "1.0 MB", 5e12: "5.0 TB"} {
		if got := size(in); got != want {
			t.Errorf("size(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestMain(m *testing.M) {
	// A script's byhand is this binary too, and mounts for the whole script.
	if filepath.Base(os.Args[0]) != "byhand" {
		if code, again := testneed.PrivateMounts(); again {
			os.Exit(code)
		}
		if err := testneed.ShareMounts(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		testneed.HeedSignals()
	}
	os.Exit(testMain(m))
}

// A hint is for what is no option and no command here, and each name has one.
func TestHabits(t *testing.T) {
	app := newApp(streams{})
	seen := map[string]bool{}
	for i, h := range slices.Concat(runHabits, otherHabits) {
		options := arranger{global: app.Flags}
		if i < len(runHabits) {
			options.command = app.Command("run")
		}
		for name := range strings.FieldsSeq(h.names) {
			if list, _ := options.lookup(name); list != nil {
				t.Errorf("--%s is an option", name)
			}
			if seen[name] {
				t.Errorf("--%s has two hints", name)
			}
			seen[name] = true
		}
	}
	clear(seen)
	for _, h := range commandHabits {
		for name := range strings.FieldsSeq(h.names) {
			if app.Command(name) != nil || seen[name] {
				t.Errorf("%s is a command, or has two hints", name)
			}
			seen[name] = true
		}
	}
}
