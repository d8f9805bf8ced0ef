package main

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// TestDocs reads the pages as a person with a browser would: each link leads
// somewhere, docs/README.md lists each page, and each option that stands behind
// byhand on a line exists.
func TestDocs(t *testing.T) {
	root := os.DirFS("../..")
	pages := []string{"README.md"}
	err := fs.WalkDir(root, "docs", func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".md") {
			pages = append(pages, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	options := optionNames(newApp(streams{}))
	listed := map[string]bool{}
	for _, page := range pages {
		text := readPage(t, root, page)
		for _, link := range linkPattern.FindAllStringSubmatch(text, -1) {
			to := checkLink(t, root, page, link[1])
			if page == "docs/README.md" {
				listed[to] = true
			}
		}
		for line := range strings.Lines(text) {
			_, typed, ok := strings.Cut(line, "byhand ")
			if !ok {
				continue
			}
			if i := strings.IndexAny(typed, "|;&"); i >= 0 {
				typed = typed[:i] // another program follows, or the next column
			}
			for _, o := range optionPattern.FindAllStringSubmatch(typed, -1) {
				if !options[o[1]] {
					t.Errorf("%s: byhand has no option --%s: %s", page, o[1], line)
				}
			}
		}
	}
	for _, page := range pages {
		if path.Dir(page) == "docs" && page != "docs/README.md" && !listed[page] {
			t.Errorf("docs/README.md does not list %s", page)
		}
	}
}

var (
	linkPattern   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	optionPattern = regexp.MustCompile(`(?:^|[ \x60(])--([a-z][a-z-]+)`)
)

func readPage(t *testing.T, root fs.FS, page string) string {
	t.Helper()
	raw, err := fs.ReadFile(root, page)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// checkLink returns the file that a link on a page leads to.
func checkLink(t *testing.T, root fs.FS, page, link string) string {
	t.Helper()
	if strings.Contains(link, "://") {
		return ""
	}
	name, anchor, _ := strings.Cut(link, "#")
	to := page
	if name != "" {
		to = path.Join(path.Dir(page), name)
	}
	if _, err := fs.Stat(root, to); err != nil {
		t.Errorf("%s links to %s: %v", page, link, err)
	} else if anchor != "" && !anchors(readPage(t, root, to))[anchor] {
		t.Errorf("%s links to %s: %s has no such heading", page, link, to)
	}
	return to
}

// anchors are the names that GitHub gives a page's headings.
func anchors(page string) map[string]bool {
	names := map[string]bool{}
	strange := regexp.MustCompile(`[^\pL\pN _-]`)
	for line := range strings.Lines(page) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			heading = strange.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
			names[strings.ReplaceAll(heading, " ", "-")] = true
		}
	}
	return names
}

func optionNames(app *cli.App) map[string]bool {
	names := map[string]bool{}
	add := func(flags []cli.Flag) {
		for _, f := range flags {
			for _, name := range f.Names() {
				names[name] = true
			}
		}
	}
	add(app.Flags)
	for _, c := range app.Commands {
		add(c.Flags)
		for _, sub := range c.Subcommands {
			add(sub.Flags)
		}
	}
	for _, name := range []string{"help", "version"} { // the library's own
		names[name] = true
	}
	return names
}

// TestExitDocs: the manual page and docs/cli.md know the same exit codes.
func TestExitDocs(t *testing.T) {
	_, table, _ := strings.Cut(readPage(t, os.DirFS("../.."), "docs/cli.md"), "## Exit status")
	number := regexp.MustCompile(`[0-9]+`)
	var documented, manual []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([0-9, ]+) \|`).FindAllStringSubmatch(table, -1) {
		documented = append(documented, number.FindAllString(row[1], -1)...)
	}
	for _, m := range exitMeanings() {
		manual = append(manual, number.FindAllString(m[0], -1)...)
	}
	if diff := cmp.Diff(documented, manual); diff != "" || len(manual) < 10 {
		t.Errorf("the manual page (+) has other exit codes than docs/cli.md (-):\n%s", diff)
	}
}
