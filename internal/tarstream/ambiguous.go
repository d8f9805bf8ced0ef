package tarstream

import "strings"

// Ambiguous reports whether the archive is, or may be, another one to GNU tar:
// names, types or the places of headers differ. What has come so far counts.
//
// That are global headers which say anything, names said twice in ways of which
// each program prefers its own, headers of a kind that one of them does not
// know, and content where the other expects none.
func (r *Reader) Ambiguous() bool { return r.ambiguous }

// doubt notes what makes the archive ambiguous.
func (r *Reader) doubt(found bool) { r.ambiguous = r.ambiguous || found }

// contested looks at the headers before an entry, which have been read, and at
// the entry's own. The names of the block are not replaced yet.
func (r *Reader) contested(block []byte) bool {
	h, v := &r.hdr, r.pax.values
	hasPath, hasLinkpath, hasSize := v.has(paxPath), v.has(paxLinkpath), v.has(paxSize)
	switch {
	case hasPath && v.get(paxPath) == "", hasLinkpath && v.get(paxLinkpath) == "":
		return true // taken back, or empty
	case r.longName != "" && (hasPath || v.has(paxSparseName)), r.longLink != "" && hasLinkpath:
		return true
	case h.Type == TypeLink && hasSize, h.Type > TypeLink && h.Type <= TypeFIFO && (h.Size != 0 || hasSize):
		return true // GNU tar skips as much, if it leaves the entry out
	}
	return otherPrefix(block)
}

// otherPrefix says whether GNU tar makes another name of the block's prefix:
// for it that of star is as long as that of ustar, and a header of its own has
// none.
func otherPrefix(block []byte) bool {
	switch formatOf(block) {
	case formatStar:
		return cString(fStarPrefix.of(block)) != cString(fPrefix.of(block))
	case formatGNU:
		if fGNUAtime.of(block)[0] == 0 && fGNUCtime.of(block)[0] == 0 {
			return false // without times there is nothing to take for a prefix
		}
		var h Header
		name := cString(fName.of(block))
		h.Name = name
		h.parseGNU(block)
		return h.Name != name
	}
	return false
}

// contestedSparse looks at what came of the records on sparse files. To GNU
// tar each of them means something alone, and each segment begins a block.
func (r *Reader) contestedSparse() bool {
	if !r.hdr.IsSparse {
		return r.pax.strange || len(r.pax.sparse) > 0
	}
	broken := false
	for _, s := range r.hdr.Sparse {
		if broken && s.Length > 0 {
			return true
		}
		broken = broken || s.Length%blockSize != 0
	}
	return false
}

// strangeKey knows the keywords by which GNU tar means more than metadata.
func strangeKey(key string) bool { return strings.HasPrefix(key, "GNU.") }
