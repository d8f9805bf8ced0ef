package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// column is one of a table.
type column struct {
	title string
	// least is the width down to which the column may be cut to fit a
	// terminal; 0 leaves it whole.
	least int
	// spare columns are left out of a terminal that is too narrow still, 1
	// first; 0 is one that always stays.
	spare int
}

// shortDigest is the least width of a column of digests.
const shortDigest = 8

// What separates columns, and what does where there is no room.
const (
	columnGap = 3
	narrowGap = 2
)

// terminalWidth is how many columns standard output shows, 0 if it is no
// terminal.
func (c *call) terminalWidth() int {
	if !term.IsTerminal(int(c.std.out.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(c.std.out.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

// noTrunc says whether tables have to be whole: when asked to, and when no
// person looks at them.
func (c *call) noTrunc() bool {
	return c.flags.Bool("no-trunc") || c.terminalWidth() == 0
}

// table prints rows under a header, columns aligned. Cells may come from an
// image, such as its architecture.
func (s *session) table(header []string, rows [][]string) error {
	columns := make([]column, len(header))
	for i, title := range header {
		columns[i] = column{title: title}
	}
	return s.writeTable(columns, rows)
}

// writeTable prints rows under a header, columns aligned and cut to what the
// terminal shows.
func (s *session) writeTable(columns []column, rows [][]string) error {
	s.endProgress()
	clean := make([][]string, 0, len(rows)+1)
	head := make([]string, len(columns))
	for i, c := range columns {
		head[i] = c.title
	}
	clean = append(clean, head)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i := range row {
			cells[i] = oneLine(row[i])
		}
		clean = append(clean, cells)
	}
	limit := 0
	if !s.noTrunc() {
		limit = s.terminalWidth()
	}
	columns, clean, left := dropColumns(columns, clean, limit)
	widths, gap := fitColumns(columns, clean, limit)
	err := s.output(func(w io.Writer) error {
		for _, row := range clean {
			if err := writeRow(w, row, widths, gap); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(left) > 0 {
		s.log(levelInfo, fmt.Sprintf("no room for %s; --no-trunc prints all", strings.Join(left, ", ")))
	}
	return err
}

// dropColumns leaves out spare columns as long as the table does not fit the
// limit even when cut, and returns the titles of those that have anything.
func dropColumns(columns []column, rows [][]string, limit int) (kept []column, cells [][]string, left []string) {
	for {
		need := narrowGap * (len(columns) - 1)
		last := -1
		for i, w := range cellWidths(columns, rows) {
			c := columns[i]
			if c.least > 0 {
				w = min(w, c.least)
			}
			need += w
			if c.spare > 0 && (last < 0 || c.spare < columns[last].spare) {
				last = i
			}
		}
		if limit == 0 || need <= limit || last < 0 {
			return columns, rows, left
		}
		if slices.ContainsFunc(rows[1:], func(row []string) bool { return row[last] != "" }) {
			left = append(left, columns[last].title)
		}
		columns = slices.Delete(slices.Clone(columns), last, last+1)
		fewer := make([][]string, len(rows))
		for i, row := range rows {
			fewer[i] = slices.Delete(slices.Clone(row), last, last+1)
		}
		rows = fewer
	}
}

// cellWidths returns the widths of the columns, uncut.
func cellWidths(columns []column, rows [][]string) []int {
	widths := make([]int, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	return widths
}

// fitColumns returns the columns' widths, and the gap between them. With a
// limit, those that can spare most give way first.
func fitColumns(columns []column, rows [][]string, limit int) (widths []int, gap int) {
	widths, gap = cellWidths(columns, rows), columnGap
	if limit == 0 {
		return widths, gap
	}
	total := columnGap * (len(columns) - 1)
	for _, w := range widths {
		total += w
	}
	if total > limit {
		gap = narrowGap
		total -= (columnGap - narrowGap) * (len(columns) - 1)
	}
	for ; total > limit; total-- {
		richest, most := -1, 0
		for i, c := range columns {
			if spare := widths[i] - c.least; c.least > 0 && spare > most {
				richest, most = i, spare
			}
		}
		if richest < 0 {
			break
		}
		widths[richest]--
	}
	return widths, gap
}

func writeRow(w io.Writer, row []string, widths []int, gap int) error {
	var b strings.Builder
	for i, cell := range row {
		cell = runewidth.Truncate(cell, widths[i], "…")
		b.WriteString(cell)
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell)+gap))
		}
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), " ")+"\n")
	return err
}

// output lets write print a result of many pieces.
func (s *session) output(write func(io.Writer) error) error {
	s.endProgress()
	out := &resultWriter{w: s.std.out}
	w := bufio.NewWriterSize(out, 64<<10)
	err := write(w)
	if ferr := w.Flush(); err == nil {
		err = ferr
	}
	return err
}

// outputError is standard output's, whatever was being written to it.
type outputError struct{ err error }

func (e *outputError) Error() string { return "write standard output: " + e.err.Error() }

func (e *outputError) Unwrap() error { return e.err }

// resultWriter makes outputErrors of its errors.
type resultWriter struct{ w io.Writer }

func (r *resultWriter) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	if err != nil {
		return n, &outputError{err}
	}
	return n, nil
}
