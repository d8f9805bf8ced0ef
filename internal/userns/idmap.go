package userns

import (
	"fmt"
	"strconv"
	"strings"
)

// extent is one line of an id map: size ids from inside on are the ids from
// outside on of the parent user namespace.
type extent struct{ inside, outside, size uint32 }

// idMap is the whole of /proc/PID/uid_map or gid_map.
type idMap []extent

// parseMap reads the kernel's form of an id map.
func parseMap(text []byte) (idMap, error) {
	var m idMap
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %q has %d fields, expected 3", strings.TrimSpace(line), len(fields))
		}
		var v [3]uint32
		for i, f := range fields {
			n, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", strings.TrimSpace(line), err)
			}
			v[i] = uint32(n)
		}
		m = append(m, extent{v[0], v[1], v[2]})
	}
	return m, nil
}

// count returns how many ids the map has.
func (m idMap) count() uint32 {
	var n uint64
	for _, e := range m {
		n += uint64(e.size)
	}
	return uint32(min(n, fullRange))
}

// outer translates an id of the namespace to its parent's.
func (m idMap) outer(id uint32) (uint32, bool) {
	for _, e := range m {
		if id >= e.inside && id-e.inside < e.size {
			return e.outside + (id - e.inside), true
		}
	}
	return 0, false
}

// String is the form that is written to /proc/PID/uid_map.
func (m idMap) String() string {
	var b strings.Builder
	for _, e := range m {
		fmt.Fprintf(&b, "%d %d %d\n", e.inside, e.outside, e.size)
	}
	return b.String()
}

// args is the form that newuidmap(1) takes after the process id.
func (m idMap) args() []string {
	return strings.Fields(m.String())
}

// mapFor maps 0 to the caller's own id and 1 upwards to every range, in the
// order of the file. The caller's id inside a range is left out: no id may
// be mapped twice.
func mapFor(own uint32, ranges []Range) idMap {
	m := idMap{{0, own, 1}}
	next := uint32(1)
	add := func(start, size uint32) {
		if size == 0 || len(m) == maxExtents {
			return
		}
		m = append(m, extent{next, start, size})
		next += size
	}
	for _, r := range ranges {
		if own < r.Start || own-r.Start >= r.Count {
			add(r.Start, r.Count)
			continue
		}
		add(r.Start, own-r.Start)
		add(own+1, r.Count-(own-r.Start)-1)
	}
	return m
}

// maxExtents is the kernel's limit on lines of an id map, user_namespaces(7).
const maxExtents = 340
