package tarstream

import (
	"bytes"
	"slices"
	"strings"
)

// Keywords of POSIX.1-2017 pax(1), "pax Extended Header Keywords", of star and
// of GNU tar, "Storing Sparse Files".
const (
	paxPath        = "path"
	paxLinkpath    = "linkpath"
	paxSize        = "size"
	paxUID         = "uid"
	paxGID         = "gid"
	paxMtime       = "mtime"
	paxAtime       = "atime"
	paxCtime       = "ctime"
	paxXattrPrefix = "SCHILY.xattr."

	paxSparseMajor     = "GNU.sparse.major"
	paxSparseMinor     = "GNU.sparse.minor"
	paxSparseMap       = "GNU.sparse.map"
	paxSparseName      = "GNU.sparse.name"
	paxSparseSize      = "GNU.sparse.size"
	paxSparseRealSize  = "GNU.sparse.realsize"
	paxSparseNumBlocks = "GNU.sparse.numblocks"
	paxSparseOffset    = "GNU.sparse.offset"
	paxSparseNumBytes  = "GNU.sparse.numbytes"
)

// pax holds the records of an extended header that matter. A record with an
// empty value takes back an earlier one.
type pax struct {
	set bool
	// strange says that a keyword is there which changes for GNU tar what the
	// entry is.
	strange bool
	values  paxValues // without xattrs
	xattrs  []Xattr
	at      map[string]int // where in xattrs a name is, once there are many
	sparse  []string       // offsets and lengths of format 0.0, in turn
}

// paxValues are records by keyword. Mostly there are one or two, and never more
// than the keywords that are wanted, so that a map would take longer.
type paxValues []paxValue

type paxValue struct{ key, value string }

// find returns where key is, or -1.
func (v paxValues) find(key string) int {
	for i := range v {
		if v[i].key == key {
			return i
		}
	}
	return -1
}

// get returns the value of key, "" if there is none.
func (v paxValues) get(key string) string {
	if i := v.find(key); i >= 0 {
		return v[i].value
	}
	return ""
}

func (v paxValues) has(key string) bool { return v.find(key) >= 0 }

func (v *paxValues) set(key, value string) {
	if i := v.find(key); i >= 0 {
		(*v)[i].value = value
		return
	}
	*v = append(*v, paxValue{key, value})
}

func (p *pax) reset() {
	p.set, p.strange = false, false
	p.values = p.values[:0]
	p.xattrs = p.xattrs[:0]
	p.at = nil
	p.sparse = p.sparse[:0]
}

// matters reports whether the header says anything about a file.
func (p *pax) matters() bool { return p.strange || len(p.values)+len(p.xattrs)+len(p.sparse) > 0 }

// parse reads the records in b and returns what is wrong with them, if
// anything.
func (p *pax) parse(b []byte) string {
	p.reset()
	p.set = true
	for len(b) > 0 {
		key, value, rest, ok := cutRecord(b)
		if !ok {
			return "malformed PAX record"
		}
		if bad := p.add(key, value); bad != "" {
			return bad
		}
		b = rest
	}
	return ""
}

// cutRecord splits "LENGTH KEY=VALUE\n" off b.
func cutRecord(b []byte) (key, value, rest []byte, ok bool) {
	sp := bytes.IndexByte(b, ' ')
	if sp <= 0 {
		return nil, nil, nil, false
	}
	n, ok := parseDecimal(string(b[:sp]))
	if !ok || n > int64(len(b)) || n < int64(sp)+4 || b[n-1] != '\n' {
		return nil, nil, nil, false
	}
	key, value, ok = bytes.Cut(b[sp+1:n-1], []byte("="))
	return key, value, b[n:], ok && len(key) > 0
}

func (p *pax) add(key, value []byte) string {
	k := string(key)
	p.strange = p.strange || strangeKey(k)
	switch k {
	case paxPath, paxLinkpath, "uname", "gname":
		if bytes.IndexByte(value, 0) >= 0 {
			return "NUL in PAX record " + k
		}
	case paxSparseOffset, paxSparseNumBytes:
		isNumBytes := k == paxSparseNumBytes
		if isNumBytes != (len(p.sparse)%2 == 1) || bytes.IndexByte(value, ',') >= 0 {
			return "PAX records of the sparse map out of order"
		}
		p.sparse = append(p.sparse, string(value))
		return ""
	default:
		if bytes.IndexByte(key, 0) >= 0 {
			return "NUL in a PAX keyword"
		}
	}
	if name, ok := strings.CutPrefix(k, paxXattrPrefix); ok {
		p.addXattr(name, string(value))
		return ""
	}
	if !wanted(k) {
		return ""
	}
	p.values.set(k, string(value))
	return ""
}

func (p *pax) addXattr(name, value string) {
	if i := p.findXattr(name); i >= 0 {
		p.xattrs[i].Value = value
		return
	}
	if p.at != nil {
		p.at[name] = len(p.xattrs)
	}
	p.xattrs = append(p.xattrs, Xattr{name, value})
}

// findXattr returns where in xattrs the name is, or -1.
func (p *pax) findXattr(name string) int {
	const few = 32
	if len(p.xattrs) < few {
		return slices.IndexFunc(p.xattrs, func(x Xattr) bool { return x.Name == name })
	}
	if p.at == nil {
		p.at = make(map[string]int)
		for i, x := range p.xattrs {
			p.at[x.Name] = i
		}
	}
	if i, ok := p.at[name]; ok {
		return i
	}
	return -1
}

func wanted(key string) bool {
	switch key {
	case paxPath, paxLinkpath, paxSize, paxUID, paxGID, paxMtime, paxAtime, paxCtime,
		paxSparseMajor, paxSparseMinor, paxSparseMap, paxSparseName, paxSparseSize,
		paxSparseRealSize, paxSparseNumBlocks:
		return true
	}
	return false
}

// merge overrides h by the records and returns what is wrong, if anything.
func (p *pax) merge(h *Header) string {
	if !p.set {
		return ""
	}
	if v := p.values.get(paxPath); v != "" {
		h.Name = v
	}
	if v := p.values.get(paxLinkpath); v != "" {
		h.Linkname = v
	}
	h.HasAtime = h.HasAtime || p.values.get(paxAtime) != ""
	h.Xattrs = append(h.Xattrs, p.xattrs...)
	var ctime Time
	for _, err := range [...]string{
		p.number(paxSize, &h.Size), p.number(paxUID, &h.UID), p.number(paxGID, &h.GID),
		p.time(paxMtime, &h.ModTime), p.time(paxAtime, &h.AccessTime), p.time(paxCtime, &ctime),
	} {
		if err != "" {
			return err
		}
	}
	return ""
}

func (p *pax) number(key string, dst *int64) (bad string) {
	if v := p.values.get(key); v != "" {
		n, ok := parseDecimal(v)
		if !ok {
			return "PAX record " + key + " is no number"
		}
		*dst = n
	}
	return ""
}

func (p *pax) time(key string, dst *Time) (bad string) {
	if v := p.values.get(key); v != "" {
		t, ok := parseTime(v)
		if !ok {
			return "PAX record " + key + " is no time"
		}
		*dst = t
	}
	return ""
}

// parseTime reads seconds with any number of decimal places; those after the
// ninth are cut off.
func parseTime(s string) (Time, bool) {
	secs, frac, _ := strings.Cut(s, ".")
	sec, ok := parseDecimal(secs)
	if !ok {
		return Time{}, false
	}
	for _, c := range []byte(frac) {
		if c < '0' || c > '9' {
			return Time{}, false
		}
	}
	if frac == "" {
		return Time{Sec: sec}, true
	}
	frac = (frac + "000000000")[:9]
	nsec, _ := parseDecimal(frac)
	if secs[0] == '-' && nsec > 0 {
		return Time{Sec: sec - 1, Nsec: 1e9 - nsec}, true
	}
	return Time{Sec: sec, Nsec: nsec}, true
}
