package unpack

// Limits bound one layer. A zero field means its default, a negative one no
// limit. Exceeding one is a *LimitError that carries the name given here.
type Limits struct {
	Entries    int64 // "entries": entries and implicit directories; default 4,194,304
	Bytes      int64 // "bytes": content bytes of all files, holes not counted; default 256 GiB
	HeaderSize int64 // "header-size": one PAX header, GNU long name or sparse map; default 1 MiB, as in Go's archive/tar
	PathDepth  int64 // "path-depth": components of a name; default 4,096
	XattrSize  int64 // "xattr-size": names and values of one entry's extended attributes; default 1 MiB
}

const (
	defaultEntries    = 4 << 20
	defaultBytes      = 256 << 30
	defaultHeaderSize = 1 << 20
	defaultPathDepth  = 4096
	defaultXattrSize  = 1 << 20
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
	return l
}
