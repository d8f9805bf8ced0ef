package userns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Range is a run of subordinate ids that belongs to one user, subuid(5).
type Range struct{ Start, Count uint32 }

// subidFile reads the ranges of a user, named by login name or number, from
// a file in the form of subuid(5). A missing file has no ranges. free is the
// first id, a multiple of 65536, beyond every range of the file.
func subidFile(path, name string, id int) (own []Range, free uint32, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, firstSubid, nil
	}
	if err != nil {
		return nil, firstSubid, fmt.Errorf("read subordinate ids: %w", err)
	}
	defer func() { _ = f.Close() }()
	own, free, err = parseSubids(f, name, id)
	if err != nil {
		return nil, free, fmt.Errorf("read subordinate ids from %s: %w", path, err)
	}
	return own, free, nil
}

const (
	// firstSubid and subidCount are what useradd(8) gives by default.
	firstSubid = 100000
	subidCount = 65536
)

// parseSubids reads lines of the form owner:start:count. Lines that are no
// such thing are not of use to newuidmap either, and are passed over.
func parseSubids(r io.Reader, name string, id int) (own []Range, free uint32, err error) {
	number := strconv.Itoa(id)
	end := uint64(firstSubid)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		owner, rng, ok := parseSubid(lines.Text())
		if !ok {
			continue
		}
		end = max(end, uint64(rng.Start)+uint64(rng.Count))
		if owner == name || owner == number {
			own = append(own, rng)
		}
	}
	return disjoint(own), nextFree(end), lines.Err()
}

// parseSubid reads one line; ids that do not fit in 32 bits are refused.
func parseSubid(line string) (owner string, r Range, ok bool) {
	fields := strings.Split(strings.TrimSpace(line), ":")
	if len(fields) != 3 || fields[0] == "" || strings.HasPrefix(fields[0], "#") {
		return "", Range{}, false
	}
	start, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil {
		return "", Range{}, false
	}
	count, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil || count == 0 || start+count > fullRange {
		return "", Range{}, false
	}
	return fields[0], Range{uint32(start), uint32(count)}, true
}

// disjoint drops what an earlier range has already: the kernel refuses a map
// that has an outer id twice.
func disjoint(ranges []Range) []Range {
	var out []Range
	for _, r := range ranges {
		overlaps := slices.ContainsFunc(out, func(o Range) bool {
			return r.Start < o.Start+o.Count && o.Start < r.Start+r.Count
		})
		if !overlaps {
			out = append(out, r)
		}
	}
	return out
}

// nextFree rounds end up so that proposed ranges keep useradd's alignment.
func nextFree(end uint64) uint32 {
	n := (end - firstSubid + subidCount - 1) / subidCount * subidCount
	if n+firstSubid+subidCount > fullRange {
		return firstSubid
	}
	return uint32(n + firstSubid)
}
