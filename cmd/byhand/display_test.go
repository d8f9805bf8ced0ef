package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"
)

func TestShellName(t *testing.T) {
	for name, want := range map[string]string{
		"plain-1.0_x+y@z,%:/": "plain-1.0_x+y@z,%:/", "": "''", "sp ace": "'sp ace'", "a'b": `'a'$'\'''b'`,
		"line\nbreak": `'line'$'\n''break'`, "\t\r": `$'\t\r'`, "esc\x1b[0m": `'esc'$'\033''[0m'`, "bad\xff": `'bad'$'\377'`,
		"ü中": "ü中", "turn\u202eback": `'turn'$'\342\200\256''back'`, "$HOME": "'$HOME'", "~": "'~'", `back\slash`: `'back\slash'`,
		"\uFFFD": "\uFFFD", "#x": "'#x'",
	} {
		if got := shellName(name); got != want {
			t.Errorf("%q: %s, expected %s", name, got, want)
		}
	}
}

// FuzzShellName has names that could be anything: what is printed of them
// cannot move a cursor, and is one word.
func FuzzShellName(f *testing.F) {
	for _, name := range []string{"a", "a\nb", "\x1b]0;x\a", "\xff\xfe", "'", "\u202e", "\u0085"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, r := range shellName(name) {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' {
				t.Errorf("%q is printed as %q", name, shellName(name))
			}
		}
	})
}

func TestFitColumns(t *testing.T) {
	columns := []column{{title: "A"}, {title: "B", least: 12}, {title: "C", least: 7}}
	rows := [][]string{{"A", "B", "C"}, {strings.Repeat("a", 10), strings.Repeat("b", 40), strings.Repeat("中", 10)}}
	for limit, want := range map[int][]int{
		0: {10, 40, 20}, 200: {10, 40, 20}, 76: {10, 40, 20}, 70: {10, 36, 20}, 50: {10, 20, 16}, 20: {10, 12, 7},
	} {
		got, gap := fitColumns(columns, rows, limit)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
		var b strings.Builder
		if err := writeRow(&b, rows[1], got, gap); err != nil {
			t.Fatal(err)
		}
		if w := runewidth.StringWidth(strings.TrimSpace(b.String())); limit >= 40 && w > limit {
			t.Errorf("limit %d: %d columns", limit, w)
		}
	}
}

// TestDropColumns has a table of which no column can be cut enough.
func TestDropColumns(t *testing.T) {
	columns := []column{{title: "A"}, {title: "B", spare: 2}, {title: "C", least: 3, spare: 1}, {title: "D"}}
	rows := [][]string{{"A", "B", "C", "D"}, {"aaaaa", "bbbbb", "ccccc", "ddddd"}}
	for limit, want := range map[int]string{0: "ABCD", 24: "ABCD", 23: "ABD", 19: "ABD", 18: "AD", 1: "AD"} {
		kept, cells, left := dropColumns(columns, rows, limit)
		got := strings.Join(cells[0], "")
		if got != want || len(kept) != len(want) || len(cells[1]) != len(want) || len(left) != 4-len(want) {
			t.Errorf("limit %d: %s, without %v, expected %s", limit, got, left, want)
		}
	}
	if _, _, left := dropColumns(columns, [][]string{rows[0], {"aaaaa", "bbbbb", "", "ddddd"}}, 1); len(left) != 1 {
		t.Errorf("of an empty column it is said that it is left out: %v", left)
	}
	if len(rows[0]) != 4 || rows[1][3] != "ddddd" {
		t.Errorf("the rows were changed: %v", rows)
	}
}

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{
		`{{.A}}\t{{.B}}\n`: "{{.A}}\t{{.B}}\n", `{{join .A "\n"}}\n`: "{{join .A \"\\n\"}}\n", `\t`: "\t", `{{.A`: "{{.A", "": "",
	} {
		if got := unescape(text); got != want {
			t.Errorf("%q: %q, expected %q", text, got, want)
		}
	}
}

func TestModeString(t *testing.T) {
	for mode, want := range map[uint32]string{
		0o100644: "-rw-r--r--", 0o040755: "drwxr-xr-x", 0o120777: "lrwxrwxrwx", 0o020600: "crw-------", 0o060660: "brw-rw----",
		0o010000: "p---------", 0o104755: "-rwsr-xr-x", 0o104644: "-rwSr--r--", 0o102711: "-rwx--s--x", 0o102701: "-rwx--S--x",
		0o041777: "drwxrwxrwt", 0o041770: "drwxrwx--T",
	} {
		if got := modeString(mode); got != want {
			t.Errorf("%o: %s, expected %s", mode, got, want)
		}
	}
}
