package handscript_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testtar"
)

// TestTwoReadings has archives in which GNU tar finds a symbolic link where
// byhand, as Docker does, finds a directory: obeyed, the files that the script
// makes would land where the link leads.
func TestTwoReadings(t *testing.T) {
	needTools(t)
	outside := t.TempDir()
	link := func(name string) testtar.Entry {
		return testtar.Raw(testtar.Header(testtar.Fields{Type: '2', Name: name, Linkname: outside, Mode: "0000777"}, nil))
	}
	record := func(flag byte, records ...string) testtar.Entry {
		var all strings.Builder
		for _, r := range records {
			all.WriteString(r)
		}
		return testtar.Raw(testtar.Header(testtar.Fields{Type: flag, Name: "h"}, []byte(all.String())))
	}
	long := func(flag byte, name string) testtar.Entry {
		return testtar.Raw(testtar.Header(testtar.Fields{Type: flag, Name: "././@LongLink"}, []byte(name+"\x00")))
	}
	for name, entries := range map[string][]testtar.Entry{
		"name of a sparse file": {record('x', testtar.Record("GNU.sparse.name", "x")), link("y")},
		"long name and path":    {long('L', "y"), record('x', testtar.Record("path", "x")), link("z")},
		"two extended headers":  {record('x', testtar.Record("path", "x")), record('x', testtar.Record("mtime", "1")), link("y")},
		"two paths":             {record('x', testtar.Record("path", "x"), testtar.Record("path", "")), link("y")},
		"two long names":        {long('L', "x"), long('L', "y"), link("z")},
		"content of a left out link": {
			testtar.Raw(testtar.Header(testtar.Fields{Type: '2', Name: "./z/../y", Linkname: "y", Size: "00000001000"}, nil)),
			// Skipped as content, so that what follows it is a header.
			testtar.Raw(testtar.Header(testtar.Fields{Type: '0', Name: "w"}, testtar.Tar(link("x"))[:512])),
		},
		"segments of single bytes": {
			testtar.Raw(testtar.Header(testtar.Fields{Type: 'x', Name: "h"}, []byte(testtar.Record("GNU.sparse.map", "0,1,600,1")+
				testtar.Record("GNU.sparse.size", "601")+testtar.Record("GNU.sparse.numblocks", "2")))),
			testtar.Raw(testtar.Header(testtar.Fields{Type: '0', Name: "s", Mode: "0000644"}, []byte("ab"))),
			testtar.Raw(testtar.Header(testtar.Fields{Type: '0', Name: "w"}, testtar.Tar(link("x"))[:512])),
		},
		"prefix in a header of GNU": {testtar.Raw(testtar.Header(testtar.Fields{Type: '2', Name: "x", Linkname: outside, Magic: "ustar  \x00", Prefix: "y\x00zz"}, nil))},
	} {
		t.Run(name, func(t *testing.T) {
			all := append([]testtar.Entry{testtar.Dir("x")}, entries...)
			all = append(all, testtar.File("x/f", "1"), testtar.File("x/f", "not there"))
			img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(all...))
			lower, tree := img.reference()
			script := img.script(nil)
			t.Cleanup(func() { _ = os.Remove(filepath.Join(outside, "f")) })
			code, out := img.run(shells()[0], script)
			if found, err := os.ReadDir(outside); err != nil || len(found) > 0 {
				t.Errorf("the script wrote %v outside of its directory: %v", found, err)
			}
			if code != 0 {
				t.Fatalf("status %d\n%s\n%s", code, out, plans(script))
			}
			img.same("lower", filepath.Join(img.dir, "box/lower/1"), lower[0])
			img.same("tree", filepath.Join(img.dir, "box/rootfs"), tree)
			img.clear()
		})
	}
}
