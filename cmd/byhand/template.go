package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/internal/human"
)

// formatFlag is --format, with templates as docker and skopeo take them.
func formatFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "format", Aliases: []string{"f"},
		Usage: "print by a Go `TEMPLATE`, as in {{.Digest}}; json for one object a line, \"table TEMPLATE\" for a table",
	}
}

func noTruncFlag() cli.Flag {
	return &cli.BoolFlag{Name: "no-trunc", Usage: "print whole digests and long columns on a terminal, too"}
}

// format is a parsed --format.
type format struct {
	template *template.Template
	table    bool // a header comes first
}

// newFormat parses the value of --format; nil stands for none.
func newFormat(text string) (*format, error) {
	f := &format{}
	switch {
	case text == "", text == "table":
		return nil, nil
	case text == "json":
		text = "{{json .}}"
	default:
		if rest, ok := strings.CutPrefix(text, "table "); ok {
			f.table, text = true, strings.TrimSpace(rest)
		}
	}
	var err error
	f.template, err = template.New("").Funcs(templateFuncs()).Parse(unescape(text))
	if err != nil {
		return nil, usagef("--format: %s", templateError(err))
	}
	return f, nil
}

// execute returns what the template makes of v. A key that a map lacks is an
// error.
func (f *format) execute(v any) (string, error) {
	return f.run(v, "missingkey=error")
}

// executeTyped does so for Docker's and skopeo's own types. As with these, a
// key that a map lacks, such as a label, is <no value>.
func (f *format) executeTyped(v any) (string, error) {
	return f.run(v, "missingkey=default")
}

func (f *format) run(v any, option string) (string, error) {
	f.template.Option(option)
	var b strings.Builder
	if err := f.template.Execute(&b, v); err != nil {
		return "", fmt.Errorf("--format: %s", templateError(err))
	}
	return b.String(), nil
}

// templateError takes the empty name of our templates out of their errors.
func templateError(err error) string {
	return strings.TrimPrefix(strings.ReplaceAll(err.Error(), `executing "" `, ""), "template: :")
}

// checkFields refuses a template that asks for a field which no row has.
// known has all there are.
func (f *format) checkFields(known record) error {
	_, err := f.execute(known)
	if err == nil || !strings.Contains(err.Error(), "map has no entry for key") {
		return nil // the template may suit the real rows
	}
	return usagef("%v; there are .%s", err, strings.Join(slices.Sorted(maps.Keys(known)), " ."))
}

// unescape makes tabs and newlines of \t and \n in a template's text. In its
// actions they are Go's, inside strings.
func unescape(text string) string {
	escapes := strings.NewReplacer(`\t`, "\t", `\n`, "\n")
	var b strings.Builder
	for text != "" {
		plain, rest, found := strings.Cut(text, "{{")
		b.WriteString(escapes.Replace(plain))
		if !found {
			break
		}
		end := strings.Index(rest, "}}")
		if end < 0 {
			end = len(rest)
		} else {
			end += len("}}")
		}
		b.WriteString("{{" + rest[:end])
		text = rest[end:]
	}
	return b.String()
}

// templateFuncs are those that docker and podman know.
func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"json": toJSON, "join": join, "split": strings.Split,
		"lower": strings.ToLower, "upper": strings.ToUpper, "title": title,
		"pad": pad, "truncate": truncate,
	}
}

func toJSON(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(human.JSONWriter{W: &b})
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSpace(b.String()), err
}

// join takes lists of anything, strings or digests.
func join(list any, separator string) (string, error) {
	v := reflect.ValueOf(list)
	if !v.IsValid() {
		return "", nil
	}
	if v.Kind() != reflect.Slice {
		return "", fmt.Errorf("expected a list, found %T", list)
	}
	elems := make([]string, v.Len())
	for i := range elems {
		elems[i] = fmt.Sprint(v.Index(i))
	}
	return strings.Join(elems, separator), nil
}

// title makes the first letter of each word upper case.
func title(s string) string {
	before := ' '
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(before) && !unicode.IsDigit(before) && before != '\'' && before != '_' {
			before = r
			return unicode.ToTitle(r)
		}
		before = r
		return r
	}, s)
}

// pad puts so many spaces around a string that is not empty.
func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", max(before, 0)) + s + strings.Repeat(" ", max(after, 0))
}

// truncate keeps the first n characters.
func truncate(s string, n int) string {
	if r := []rune(s); n >= 0 && len(r) > n {
		return string(r[:n])
	}
	return s
}

// listing is what a command prints that prints a table.
type listing struct {
	columns []column
	fields  record // that a template may use, and their titles in a table
}

// row is one of a listing: the cells of our table, and what a template may use.
type row struct {
	cells  []string
	fields record
}

// record is what a row has under each field's name.
type record map[string]string

// oneLine makes every field fit for a terminal, and for a cell.
func (r record) oneLine() record {
	clean := make(record, len(r))
	for field, value := range r {
		clean[field] = oneLine(value)
	}
	return clean
}

// listFormat parses --format for a listing.
func (c *call) listFormat(l listing) (*format, error) {
	f, err := newFormat(c.flags.String("format"))
	if err != nil || f == nil {
		return nil, err
	}
	return f, f.checkFields(l.fields)
}

// idsFlag is what docker's lists of images have. After the command -q is this
// one, before it the global one.
func idsFlag() cli.Flag {
	return &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print image IDs alone"}
}

// idFormat is listFormat for a command with idsFlag.
func (c *call) idFormat(l listing) (*format, error) {
	f, err := c.listFormat(l)
	if err == nil && f == nil && c.flags.Bool("quiet") && !c.flags.Bool("json") {
		return newFormat("{{.ID}}")
	}
	return f, err
}

// list prints rows as they were asked for: values as JSON, the rows by the
// template f, or a table of them.
func (s *session) list(l listing, f *format, rows []row, values any) error {
	switch {
	case f != nil && f.table:
		return s.formatTable(l, f, rows)
	case f != nil:
		return s.formatRows(f, rows)
	case s.flags.Bool("json"):
		return s.printJSON(values)
	}
	cells := make([][]string, len(rows))
	for i, r := range rows {
		cells[i] = r.cells
	}
	return s.writeTable(l.columns, cells)
}

func (s *session) formatRows(f *format, rows []row) error {
	return s.formatEach(f, func(yield func(record) error) error {
		for _, r := range rows {
			if err := yield(r.fields); err != nil {
				return err
			}
		}
		return nil
	})
}

// formatEach prints a line for each of the records.
func (s *session) formatEach(f *format, each func(yield func(record) error) error) error {
	person := s.terminalWidth() > 0
	return s.output(func(w io.Writer) error {
		return each(func(fields record) error {
			if person {
				fields = fields.oneLine()
			}
			line, err := f.execute(fields)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(w, line)
			return err
		})
	})
}

// formatTable makes a column of what stands between two tabs of a template.
func (s *session) formatTable(l listing, f *format, rows []row) error {
	head, err := f.execute(l.fields)
	if err != nil {
		return err
	}
	titles := strings.Split(head, "\t")
	cells := make([][]string, len(rows))
	for i, r := range rows {
		line, err := f.execute(r.fields.oneLine())
		if err != nil {
			return err
		}
		cells[i] = strings.SplitN(line, "\t", len(titles))
	}
	return s.table(titles, cells)
}
