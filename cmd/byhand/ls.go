package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
)

func lsCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Usage:     "list an image's files without unpacking it",
		UsageText: "byhand ls [-l] [-R] [-d] [--layer N] IMAGE [PATH]",
		Description: "Lists the directory PATH, or the root, of the merged tree; names with a dot are\n" +
			"never hidden. -l tells mode, owner, size, time (UTC) and the layer that each entry\n" +
			"comes from.\n\n" +
			"   byhand ls -l alpine /etc\n" +
			"   byhand ls -R --layer 1 alpine",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "print mode, owner, size, time and layer"},
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, Usage: "list what is in directories too, with whole paths"},
			&cli.BoolFlag{Name: "directory", Aliases: []string{"d"}, Usage: "list a directory itself, not what is in it"},
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "list names with a dot, as is always done"},
			&cli.BoolFlag{Name: "one", Aliases: []string{"1"}, Hidden: true}, // a habit: it is always so
			layerFlag(), formatFlag(), noTruncFlag(), keepBlobsFlag(),
		},
		Action: action(std, operands{min: 1, max: 2}, withTree(doLs)),
	}
}

// fileRow is a file of the merged tree.
type fileRow struct {
	Path    string            `json:"path"`
	Bytes   []byte            `json:"pathBytes,omitempty"` // of a path that JSON has no way to write, in base64
	Type    string            `json:"type"`                // file, directory, symlink, char, block, fifo
	Mode    string            `json:"mode"`                // permission bits, octal
	UID     uint32            `json:"uid"`
	GID     uint32            `json:"gid"`
	Size    int64             `json:"size"`
	ModTime fileTime          `json:"modTime"`
	Link    string            `json:"link,omitempty"`
	Major   uint32            `json:"major,omitempty"`
	Minor   uint32            `json:"minor,omitempty"`
	Xattrs  map[string][]byte `json:"xattrs,omitempty"` // values in base64
	Layer   int               `json:"layer"`            // 1 is the base
	Digest  digest.Digest     `json:"digest"`           // of that layer

	name string // to be printed
	mode string // as ls writes it
}

// fileTime is a file's time. Those beyond the year 9999, which time.Time refuses
// to write in JSON, have as many digits as they need.
type fileTime struct{ time.Time }

// MarshalJSON hides that of time.Time.
func (t fileTime) MarshalJSON() ([]byte, error) { return json.Marshal(t.Format(time.RFC3339Nano)) }

func doLs(ctx context.Context, t *imageTree) error {
	s := t.session
	l := filesListing()
	f, err := s.listFormat(l)
	if err != nil {
		return err
	}
	if err := t.wantLayers(); err != nil {
		return err
	}
	if err := t.load(ctx, s.args[0]); err != nil {
		return err
	}
	each, err := t.files(ctx)
	if err != nil {
		return err
	}
	switch {
	case f != nil && f.table:
		var rows []row
		err := each(func(r *fileRow) error {
			rows = append(rows, row{fields: r.fields()})
			return nil
		})
		if err != nil {
			return err
		}
		return s.list(l, f, rows, nil)
	case f != nil:
		return s.formatEach(f, func(yield func(record) error) error {
			return each(func(r *fileRow) error { return yield(r.fields()) })
		})
	case s.flags.Bool("json"):
		return s.printJSONList(func(yield func(any) error) error {
			return each(func(r *fileRow) error { return yield(r) })
		})
	}
	return s.printFiles(each)
}

// files finds what is to be listed. An image may have millions of files, so
// that nothing keeps a row of each.
func (t *imageTree) files(ctx context.Context) (func(fn func(*fileRow) error) error, error) {
	s := t.session
	name := "/"
	if len(s.args) > 1 {
		name = s.args[1]
	}
	// Like ls, a link is looked at itself only where it is told about.
	follow := !s.flags.Bool("long") && !s.flags.Bool("directory")
	e, err := t.Lookup(name, follow)
	if err != nil && follow {
		e, err = t.Lookup(name, false) // a link that leads nowhere
	}
	if err != nil {
		return nil, t.fileError("list", name, err)
	}
	single := !e.IsDir() || s.flags.Bool("directory")
	s.explain.Listed(name, e.Name, !single, s.flags.Bool("recursive"))
	if single {
		return func(fn func(*fileRow) error) error { return fn(t.fileRow(&e, name)) }, nil
	}
	if s.flags.Bool("recursive") {
		return func(fn func(*fileRow) error) error {
			return t.WalkBelow(ctx, e.Name, func(e imagetree.Entry) error { return fn(t.fileRow(&e, rooted(e.Name))) })
		}, nil
	}
	kids, err := t.ReadDir(e.Name)
	if err != nil {
		return nil, t.fileError("list", name, err)
	}
	return func(fn func(*fileRow) error) error {
		for kid := range kids {
			if err := fn(t.fileRow(&kid, path.Base(kid.Name))); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (t *imageTree) fileRow(e *imagetree.Entry, name string) *fileRow {
	r := &fileRow{
		Path: rooted(e.Name), Bytes: oddBytes(rooted(e.Name)), Type: fileType(e.Mode), Mode: fmt.Sprintf("%04o", e.Mode&0o7777), UID: e.UID, GID: e.GID,
		Size: e.Size, ModTime: fileTime{e.ModTime.UTC()}, Link: e.Link, Major: e.Major, Minor: e.Minor,
		Layer: e.Layer, name: name, mode: modeString(e.Mode),
	}
	if e.Layer <= len(t.img.Layers) { // an image may have none
		r.Digest = t.img.Layers[e.Layer-1].Descriptor.Digest
	}
	for _, x := range e.Xattrs {
		if r.Xattrs == nil {
			r.Xattrs = map[string][]byte{}
		}
		r.Xattrs[x.Name] = []byte(x.Value)
	}
	return r
}

// printFiles prints as ls does. The name comes last, since nobody knows what
// is in it.
func (s *session) printFiles(each func(func(*fileRow) error) error) error {
	long := s.flags.Bool("long")
	var widths [len(longLeft)]int
	if long {
		err := each(func(r *fileRow) error {
			for i, cell := range r.long(s.call) {
				widths[i] = max(widths[i], len(cell))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.output(func(w io.Writer) error {
		return each(func(r *fileRow) error {
			line := s.fileName(r.name)
			if long {
				line = alignLong(r.long(s.call), widths) + line
				if r.Type == typeSymlink {
					line += " -> " + s.fileName(r.Link)
				}
			}
			_, err := fmt.Fprintln(w, line)
			return err
		})
	})
}

// longLeft says which cells of ls -l are aligned on the left: mode, owner,
// size, time, number and digest of the layer.
var longLeft = [...]bool{true, false, false, true, false, true}

func (r *fileRow) long(c *call) [len(longLeft)]string {
	size := strconv.FormatInt(r.Size, 10)
	if r.Type == typeChar || r.Type == typeBlock {
		size = fmt.Sprintf("%d,%d", r.Major, r.Minor)
	}
	return [...]string{
		r.mode, fmt.Sprintf("%d:%d", r.UID, r.GID), size, r.ModTime.Format(time.DateTime),
		strconv.Itoa(r.Layer), c.digest(r.Digest),
	}
}

func alignLong(cells [len(longLeft)]string, widths [len(longLeft)]int) string {
	var b strings.Builder
	for i, cell := range cells {
		fill := strings.Repeat(" ", widths[i]-len(cell))
		if longLeft[i] {
			b.WriteString(cell + fill + " ")
		} else {
			b.WriteString(fill + cell + " ")
		}
	}
	return b.String()
}

func filesListing() listing {
	return listing{fields: record{
		"Name": "NAME", "Path": "PATH", "Type": "TYPE", "Mode": "MODE", "Permissions": "PERMISSIONS", "UID": "UID", "GID": "GID",
		"Size": "SIZE", "ModTime": "MODIFIED", "Link": "LINK", "Layer": "LAYER", "Digest": "DIGEST",
	}}
}

func (r *fileRow) fields() record {
	return record{
		"Name": r.name, "Path": r.Path, "Type": r.Type, "Mode": r.Mode, "Permissions": r.mode,
		"UID": strconv.FormatUint(uint64(r.UID), 10), "GID": strconv.FormatUint(uint64(r.GID), 10),
		"Size": strconv.FormatInt(r.Size, 10), "ModTime": r.ModTime.Format(time.RFC3339Nano), "Link": r.Link,
		"Layer": strconv.Itoa(r.Layer), "Digest": r.Digest.String(),
	}
}

// rooted is a tree's name as a path from the image's root.
func rooted(name string) string { return path.Join("/", name) }

// oddBytes returns the bytes of a path that is not UTF-8.
func oddBytes(path string) []byte {
	if utf8.ValidString(path) {
		return nil
	}
	return []byte(path)
}

// Types of files, as JSON and templates have them.
const (
	typeFile    = "file"
	typeDir     = "directory"
	typeSymlink = "symlink"
	typeChar    = "char"
	typeBlock   = "block"
	typeFIFO    = "fifo"
)

func fileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return typeDir
	case unix.S_IFLNK:
		return typeSymlink
	case unix.S_IFCHR:
		return typeChar
	case unix.S_IFBLK:
		return typeBlock
	case unix.S_IFIFO:
		return typeFIFO
	}
	return typeFile
}

// modeString is a mode as POSIX's ls -l writes it.
func modeString(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	b[0] = map[string]byte{typeFile: '-', typeDir: 'd', typeSymlink: 'l', typeChar: 'c', typeBlock: 'b', typeFIFO: 'p'}[fileType(mode)]
	for i := range 9 {
		if mode&(0o400>>i) == 0 {
			b[i+1] = '-'
		}
	}
	special := func(bit uint32, at int, with, without byte) {
		switch {
		case mode&bit == 0:
		case b[at] == 'x':
			b[at] = with
		default:
			b[at] = without
		}
	}
	special(unix.S_ISUID, 3, 's', 'S')
	special(unix.S_ISGID, 6, 's', 'S')
	special(unix.S_ISVTX, 9, 't', 'T')
	return string(b)
}
