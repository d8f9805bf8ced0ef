package peers_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// asByhand is what the table says of a peer whose tree is the same.
const asByhand = "as byhand"

// TestTable: docs/differences.md has a row for each case in which a peer's
// tree differs, and no others, and says which peer's does.
func TestTable(t *testing.T) {
	rows := table(t, "../../docs/differences.md", "case")
	head := rows["case"]
	if len(head) != 4 || !strings.Contains(head[1], "umoci "+umociVersion) || !strings.Contains(head[2], "containerd "+containerdVersion) {
		t.Fatalf("columns %q", head)
	}
	delete(rows, "case")
	delete(rows, "---")
	cases := stacks()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c, row := cases[name], rows[name]
		delete(rows, name)
		if c.umoci.same() && c.overlayfs.same() && c.native.same() {
			if row != nil {
				t.Errorf("%s: a row, and no difference", name)
			}
			continue
		}
		if len(row) != 4 {
			t.Errorf("%s: no row, or cells are missing: %q", name, row)
			continue
		}
		overlayfs, native, apart := strings.Cut(row[2], "; native: ")
		if !apart {
			native = overlayfs
		}
		if apart == alike(c.overlayfs, c.native) {
			t.Errorf("%s: the snapshotters' outcomes are %+v and %+v, the table says %q", name, c.overlayfs, c.native, row[2])
		}
		for _, p := range []struct {
			name, cell string
			outcome
		}{{"umoci", row[1], c.umoci}, {"overlayfs", overlayfs, c.overlayfs}, {"native", native, c.native}} {
			if p.cell == "" || (p.cell == asByhand) != p.same() {
				t.Errorf("%s: %s differs in %q, the table says %q", name, p.name, p.differ, p.cell)
			}
			if refuses := strings.HasPrefix(p.cell, "refuses"); refuses != (p.refuses != "") {
				t.Errorf("%s: %s refuses it with %q, the table says %q", name, p.name, p.refuses, p.cell)
			}
		}
	}
	for name := range rows {
		t.Errorf("%s: a row without a case", name)
	}
}

// alike tells whether the table need not tell two outcomes apart.
func alike(a, b outcome) bool {
	return slices.Equal(a.differ, b.differ) && (a.refuses == "") == (b.refuses == "")
}

// table reads the table of a document that begins with the cell head: the
// cells by those of the first column.
func table(t *testing.T, name, head string) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(raw)) {
		if len(rows) == 0 && !strings.HasPrefix(line, "| "+head+" |") {
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if rows[cells[0]] != nil {
			t.Errorf("%s: twice", cells[0])
		}
		rows[cells[0]] = cells[1:]
	}
	return rows
}
