package handscript

import (
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/tarstream"
)

// makeFiles makes all that is no directory and not there yet.
func (d *draft) makeFiles() {
	have := map[imagetree.Content]string{}
	for name, c := range d.files {
		if first, ok := have[c]; !ok || name < first {
			have[c] = name
		}
	}
	for i := range d.want {
		e := &d.want[i]
		if c, ok := d.files[e.Name]; e.IsDir() || ok && c == e.Content {
			continue
		}
		first, there := have[e.Content]
		home, lower := d.homes[e.Content]
		switch {
		case e.Whiteout:
			if !d.flat {
				d.plan.whiteouts = append(d.plan.whiteouts, d.made(e.Name, step{"whiteout", d.at(e.Name)})[0])
			}
			continue
		case lower:
			d.plan.links = append(d.plan.links, step{"hard_link", home, d.at(e.Name)})
			d.dirty[path.Dir(e.Name)] = true
			continue
		case there:
			d.plan.files = append(d.plan.files, step{"hard_link", d.at(first), d.at(e.Name)})
			d.dirty[path.Dir(e.Name)] = true
			continue
		}
		have[e.Content] = e.Name
		d.plan.files = append(d.plan.files, d.file(e)...)
	}
}

// file makes one file from nothing but the tar's bytes.
func (d *draft) file(e *imagetree.LowerFile) []step {
	at := d.at(e.Name)
	var steps []step
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		m := d.a.members[e.Content.Ordinal]
		steps = d.made(e.Name, step{"truncate", "-s", strconv.FormatInt(m.size, 10), at})
		segments, offset := m.sparse, m.offset
		if segments == nil && m.size > 0 {
			segments = []tarstream.Segment{{Length: m.size}}
		}
		for _, s := range segments {
			if s.Length > 0 {
				steps = append(steps, step{"piece", strconv.FormatInt(offset, 10), strconv.FormatInt(s.Length, 10), strconv.FormatInt(s.Offset, 10), at})
			}
			offset += s.Length
		}
	case unix.S_IFLNK:
		steps = d.made(e.Name, step{"ln", "-s", "--", e.Link, at})[:1]
	case unix.S_IFIFO:
		steps = d.made(e.Name, step{"mkfifo", at})
	default:
		return d.device(e, at)
	}
	return append(steps, attributes(e.Entry, at, d.flat)...)
}

// device makes a device with all that belongs to it, or, for an ordinary user,
// nothing.
func (d *draft) device(e *imagetree.LowerFile, at string) []step {
	kind := "c"
	if e.Mode&unix.S_IFMT == unix.S_IFBLK {
		kind = "b"
	}
	steps := d.made(e.Name, step{
		"device", at, kind, strconv.Itoa(int(e.Major)), strconv.Itoa(int(e.Minor)), owner(e.Entry), mode(e.Entry), timestamp(e.Entry),
	})[:1]
	for _, x := range e.Xattrs {
		steps = append(steps, step{"attribute", at, x.Name, hexValue(x.Value)})
	}
	return steps
}
