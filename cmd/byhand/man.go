package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/urfave/cli/v2"
)

func manCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "write the manual pages",
		UsageText: "byhand man DIR",
		Description: "Writes byhand.1 and one page for each command to DIR/man1.\n\n" +
			"   byhand man /usr/local/share/man",
		Action: action(std, operands{min: 1, max: 1}, doMan),
	}
}

func doMan(_ context.Context, c *call) error {
	dir := filepath.Join(c.args[0], "man1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return &codedError{fmt.Errorf("write manual pages: %w", err), exitStorage}
	}
	app := c.flags.App
	for name, text := range manPages(app.Commands, app) {
		if err := os.WriteFile(filepath.Join(dir, name+".1"), md2man.Render([]byte(text)), 0o644); err != nil {
			return &codedError{fmt.Errorf("write manual page %s: %w", name, err), exitStorage}
		}
	}
	return c.println(c.args[0])
}

// manPages are the pages in Markdown, by name without the section.
func manPages(commands []*cli.Command, app *cli.App) map[string]string {
	pages := map[string]string{"byhand": mainPage(app)}
	for _, c := range commands {
		var page strings.Builder
		page.WriteString(manHead("byhand-"+c.Name, c.Usage, synopses(c), c.Description))
		page.WriteString(manOptions("OPTIONS", c.Flags))
		for _, sub := range c.Subcommands {
			page.WriteString("# " + strings.ToUpper(c.Name+" "+sub.Name) + "\n\n" + sub.Usage + "\n\n" + manText(sub.Description))
			page.WriteString(manOptions("", sub.Flags))
		}
		pages["byhand-"+c.Name] = page.String() + manSeeAlso("byhand(1)")
	}
	return pages
}

func mainPage(app *cli.App) string {
	synopsis, example, _ := strings.Cut(app.UsageText, "\n\n")
	var page strings.Builder
	page.WriteString(manHead("byhand", app.Usage, []string{synopsis}, "   "+example))
	page.WriteString("# COMMANDS\n\n")
	var also []string
	for _, c := range app.Commands {
		page.WriteString(manItem(c.Name, c.Usage))
		also = append(also, "byhand-"+c.Name+"(1)")
	}
	page.WriteString(manOptions("GLOBAL OPTIONS", app.Flags))
	page.WriteString("# EXIT STATUS\n\n")
	for _, e := range exitMeanings() {
		page.WriteString(manItem(e[0], e[1]))
	}
	return page.String() + manSeeAlso(append(also, "runc(8)", "crun(1)", "mount(8)")...)
}

// exitMeanings is the table of docs/cli.md, "Exit status".
func exitMeanings() [][2]string {
	return [][2]string{
		{"0", "done"},
		{"1", "any failure not below"},
		{"2", "usage: unknown command or option, malformed reference, digest, platform"},
		{"3", "verification failed: a digest, size or diff ID does not match, or a layer is malformed or hostile"},
		{"4", "not found: no such repository, tag, digest, platform, file"},
		{"5", "not authorized"},
		{"6", "registry unreachable, or still failing after retries"},
		{"7", "local storage failed: disk full, read-only, I/O error, permission"},
		{"125, 126, 127", "run: the container could not be started; its program could not be run; was not found"},
		{"129, 130, 143", "interrupted by SIGHUP, SIGINT, SIGTERM"},
		{"141", "nobody read on, as in byhand cat … | head"},
	}
}

func synopses(c *cli.Command) []string {
	if len(c.Subcommands) == 0 {
		return []string{c.UsageText}
	}
	var all []string
	for _, sub := range c.Subcommands {
		all = append(all, sub.UsageText)
	}
	return all
}

func manHead(name, usage string, synopsis []string, description string) string {
	var head strings.Builder
	head.WriteString(fmt.Sprintf("%% \"%s\" \"1\" \"\" \"byhand %s\" \"byhand manual\"\n\n", strings.ToUpper(name), version()))
	head.WriteString("# NAME\n\n" + name + " - " + manEscape(usage) + "\n\n# SYNOPSIS\n\n")
	for _, line := range synopsis {
		head.WriteString("**" + manEscape(line) + "**\n\n")
	}
	if description == "" {
		return head.String()
	}
	return head.String() + "# DESCRIPTION\n\n" + manText(description)
}

// manText is help text, in which what is indented is typed.
func manText(text string) string {
	var out strings.Builder
	for block := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(block, "   ") {
			out.WriteString("    " + strings.ReplaceAll(strings.ReplaceAll(block, "\n   ", "\n"), "\n", "\n    ")[3:])
		} else {
			out.WriteString(manEscape(block))
		}
		out.WriteString("\n\n")
	}
	return out.String()
}

func manOptions(title string, flags []cli.Flag) string {
	var out strings.Builder
	for _, f := range flags {
		head, usage, ok := option(f)
		if !ok {
			continue
		}
		out.WriteString(manItem(head, usage))
	}
	if out.Len() == 0 || title == "" {
		return out.String()
	}
	return "# " + title + "\n\n" + out.String()
}

// placeholder takes the value's name out of a flag's usage, where it stands in
// backquotes.
func placeholder(usage string) (value, rest string) {
	_, after, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	value, _, _ = strings.Cut(after, "`")
	return value, strings.ReplaceAll(usage, "`", "")
}

func manItem(head, text string) string {
	return "**" + manEscape(head) + "**\n:   " + manEscape(text) + "\n\n"
}

func manSeeAlso(pages ...string) string {
	return "# SEE ALSO\n\n" + manEscape(strings.Join(pages, ", ")) + "\n"
}

// manEscape keeps Markdown from reading text as markup.
func manEscape(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "`", "\\`").Replace(text)
}
