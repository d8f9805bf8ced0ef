package unpack

// Limits bound one layer. A zero field means its default, a negative one no
// limit. Exceeding one is a *LimitError that carries the name given here.
type Limits struct {
	Entries    int64 // "entries": entries and implicit directories; default 4,194,304
	Bytes      int64 // "bytes": content bytes of all files, holes not counted, and as much again of files that the layer itself replaces, with their holes; default 256 GiB
	HeaderSize int64 // "header-size": one PAX header, GNU long name or sparse map; default 1 MiB, as in Go's archive/tar
	PathDepth  int64 // "path-depth": components of a name; default 4,096
	XattrSize  int64 // "xattr-size": names and values of one entry's extended attributes; default 1 MiB
	Memory     int64 // "memory": bytes, about, in which directories, whiteouts and pending links are remembered; default 128 MiB, some 300,000 directories
}

const (
	defaultEntries    = 4 << 20
	defaultBytes      = 256 << 30
	defaultHeaderSize = 1 << 20
	defaultPathDepth  = 4096
	defaultXattrSize  = 1 << 20
	defaultMemory     = 128 << 20
)

const noLimit = 1<<63 - 1

// WithDefaults returns l with each field ready to compare against: no zeros,
// and no limit as the largest number there is.
func (l Limits) WithDefaults() Limits {
	set := func(v *int64, def int64) {
		switch {
		case *v == 0:
			*v = def
		case *v < 0:
			*v = noLimit
		}
	}
	set(&l.Entries, defaultEntries)
	set(&l.Bytes, defaultBytes)
	set(&l.HeaderSize, defaultHeaderSize)
	set(&l.PathDepth, defaultPathDepth)
	set(&l.XattrSize, defaultXattrSize)
	set(&l.Memory, defaultMemory)
	return l
}

// What is remembered takes about this many bytes beside names, measured.
const (
	nodeCost     = 400 // a directory
	whiteoutCost = 100
	linkCost     = 200 // a pending hard link
	nameCost     = 50  // a name in Pending
)

// remember counts memory that lasts until the layer's end.
func (a *applier) remember(n int64) error {
	a.memory += n
	if a.memory > a.limits.Memory {
		return &LimitError{Limit: "memory", Max: a.limits.Memory, Got: a.memory}
	}
	return nil
}
