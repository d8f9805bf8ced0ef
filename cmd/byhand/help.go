package main

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// helpWidth is what help fits in, in columns.
const helpWidth = 80

// setHelp gives the program, and each command, the text that --help prints.
func setHelp(app *cli.App) {
	app.CustomAppHelpTemplate = asTemplate(appHelp(app))
	for _, c := range app.Commands {
		setCommandHelp(c)
	}
}

func setCommandHelp(c *cli.Command, path ...string) {
	path = append(slices.Clone(path), c.Name)
	c.CustomHelpTemplate = asTemplate(commandHelp(c, strings.Join(path, " ")))
	for _, sub := range c.Subcommands {
		setCommandHelp(sub, path...)
	}
}

// asTemplate keeps the template package, which prints help, from reading it.
func asTemplate(text string) string { return strings.ReplaceAll(text, "{{", `{{"{{"}}`) }

func appHelp(app *cli.App) string {
	var h helpText
	h.section("NAME", wrap("   ", "byhand - "+app.Usage))
	h.section("USAGE", paragraphs(app.UsageText))
	h.section("COMMANDS", commandTable(app.Commands))
	h.section("IMAGE", table([][2]string{
		{"[HOST/]NAME[:TAG][@DIGEST]", "in a registry; alpine is docker.io/library/alpine:latest"},
		{"oci:DIR[:TAG]", "in an OCI image layout, a directory"},
		{"oci-archive:FILE[:TAG]", "in a tar of one"},
		{"docker-archive:FILE[:NAME]", "in the output of docker save; - is standard input"},
	}))
	h.options("GLOBAL OPTIONS, before or after the command", app.Flags)
	h.section("EXIT STATUS", table(exitMeanings()))
	h.WriteString("\nbyhand help COMMAND tells more, with an example.\n")
	return h.String()
}

func commandHelp(c *cli.Command, path string) string {
	var h helpText
	h.section("NAME", wrap("   ", "byhand "+path+" - "+c.Usage))
	h.section("USAGE", "   "+strings.Join(synopses(c), "\n   ")+"\n")
	if c.Description != "" {
		h.section("DESCRIPTION", paragraphs(c.Description))
	}
	if len(c.Subcommands) > 0 {
		h.section("COMMANDS", commandTable(c.Subcommands))
	}
	h.options("OPTIONS", c.Flags)
	h.WriteString("\nbyhand help lists the global options, and what IMAGE can be.\n")
	return h.String()
}

// helpText is help in the making.
type helpText struct{ strings.Builder }

func (h *helpText) section(title, text string) {
	if h.Len() > 0 {
		h.WriteString("\n")
	}
	h.WriteString(title + ":\n" + text)
}

// options writes a table of flags for each of their categories.
func (h *helpText) options(title string, flags []cli.Flag) {
	var categories []string
	rows := map[string][][2]string{}
	for _, f := range flags {
		category := ""
		if c, ok := f.(cli.CategorizableFlag); ok {
			category = c.GetCategory()
		}
		head, text, ok := option(f)
		if !ok {
			continue
		}
		if !slices.Contains(categories, category) {
			categories = append(categories, category)
		}
		rows[category] = append(rows[category], [2]string{head, text})
	}
	slices.Sort(categories) // what has no category comes first
	for _, category := range categories {
		name := title
		if category != "" {
			name = strings.ToUpper(category)
		}
		h.section(name, table(rows[category]))
	}
}

// option returns how a flag is written, and what it does; not for a hidden one.
func option(f cli.Flag) (head, text string, ok bool) {
	if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
		return "", "", false
	}
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "", "", false
	}
	value, text := placeholder(d.GetUsage())
	text = strings.TrimPrefix(text, value+": ")
	var names []string
	for _, n := range f.Names() {
		dash := "--"
		if len(n) == 1 {
			dash = "-"
		}
		names = append(names, dash+n)
	}
	head = strings.Join(names, ", ")
	if d.TakesValue() && value != "" {
		head += " " + value
	}
	if value := d.GetDefaultText(); value != "" && value != "false" {
		text += " (default: " + strings.Trim(value, `"`) + ")"
	}
	for _, env := range d.GetEnvVars() {
		text += " [$" + env + "]"
	}
	return head, text, true
}

func commandTable(commands []*cli.Command) string {
	rows := make([][2]string, len(commands))
	for i, c := range commands {
		rows[i] = [2]string{c.Name, c.Usage}
	}
	return table(rows)
}

// table writes what stands on the left beside what is said of it, in lines of
// helpWidth columns.
func table(rows [][2]string) string {
	const most = 26 // columns; text beside what is wider begins below it
	left := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r[0]); n <= most {
			left = max(left, n)
		}
	}
	indent := strings.Repeat(" ", 3+left+2)
	var b strings.Builder
	for _, r := range rows {
		width := utf8.RuneCountInString(r[0])
		if width > left {
			b.WriteString("   " + r[0] + "\n" + wrap(indent, r[1]))
			continue
		}
		b.WriteString("   " + r[0] + strings.Repeat(" ", left-width) + "  " + strings.TrimLeft(wrap(indent, r[1]), " "))
	}
	return b.String()
}

// paragraphs wraps those of text; of what is indented, an example, lines stay
// as they are.
func paragraphs(text string) string {
	var b strings.Builder
	for block := range strings.SplitSeq(text, "\n\n") {
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		if strings.HasPrefix(block, " ") {
			b.WriteString("   " + strings.ReplaceAll(block, "\n", "\n   ") + "\n")
			continue
		}
		b.WriteString(wrap("   ", block))
	}
	return b.String()
}

// wrap writes text in lines of helpWidth columns that begin with indent.
func wrap(indent, text string) string {
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if line != indent && utf8.RuneCountInString(line+" "+word) > helpWidth {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
	return b.String()
}
