package pull

// Limits bounds what a source can make this package read, store or try. The
// zero value of a field means its default; each is an upper bound that still
// passes. Going past one is a [LimitError] that names the field.
type Limits struct {
	// Metadata is the size in bytes of one manifest, index or config.
	// Default 4 MiB, which registries are asked to accept at least
	// (distribution-spec, "Pushing Manifests").
	Metadata int64
	// IndexDepth is how many indexes may lie above a manifest. Default 4.
	IndexDepth int
	// IndexProbes is how many entries of an index that name no platform are
	// opened in search of the wanted one. Default 32.
	IndexProbes int
	// Layers is the number of layers of one image. Default 4096.
	Layers int
	// Ratio is how many uncompressed bytes one compressed byte of a layer may
	// stand for, once the layer is larger than RatioFloor. Default 1000.
	// Deflate cannot pass 1032 by design, other compressions know no bound.
	Ratio int64
	// RatioFloor is the uncompressed size in bytes below which Ratio is not
	// looked at. Default 512 MiB: files full of zeros are ordinary.
	RatioFloor int64
	// ZstdWindow is the window in bytes a zstd frame may ask for, which is
	// memory. Default 128 MiB, what zstd itself accepts without a flag.
	ZstdWindow int64
	// ArchiveEntries is the number of entries in an oci-archive or
	// docker-archive. Default 1,000,000.
	ArchiveEntries int
	// ArchiveNames is the size in bytes of all names in an archive, which are
	// held in memory. Default 64 MiB.
	ArchiveNames int64
	// ArchiveSize is the size in bytes of an archive, uncompressed, that has to
	// be written to a temporary file first: a compressed one, or standard
	// input. Default 256 GiB.
	ArchiveSize int64
	// Redirects is how many redirects one request follows. Default 10.
	Redirects int
	// Tags is the number of tags of one repository. Default 1,000,000.
	Tags int
	// TagPages is the number of pages of one list of tags. Default 10,000.
	TagPages int

	// RangeFloor is the size in bytes above which a blob of a registry may be
	// fetched over several connections, in ranges, when a single one turns out
	// to be what everything waits for. Default 64 MiB.
	RangeFloor int64
	// RangeConnections is how many connections one blob may use then.
	// Default 4; 1 means that blobs are never fetched in ranges.
	RangeConnections int
	// RangeSize is the size of one range in bytes, which is held in memory until
	// its turn comes. Default 2.5 MiB.
	RangeSize int64
	// RangeMemory bounds what all ranges of a client hold in memory, in bytes.
	// Default 10 MiB. Blobs for which nothing is left use one connection.
	RangeMemory int64
}

const (
	defaultMetadata       = 4 << 20
	defaultIndexDepth     = 4
	defaultIndexProbes    = 32
	defaultLayers         = 4096
	defaultRatio          = 1000
	defaultRatioFloor     = 512 << 20
	defaultZstdWindow     = 128 << 20
	defaultArchiveEntries = 1_000_000
	defaultArchiveNames   = 64 << 20
	defaultArchiveSize    = 256 << 30
	defaultRedirects      = 10
	defaultTags           = 1_000_000
	defaultTagPages       = 10_000

	defaultRangeFloor       = 64 << 20
	defaultRangeConnections = 4
	defaultRangeSize        = 2560 << 10
	defaultRangeMemory      = 10 << 20
)

// withDefaults returns l with every zero field set to its default.
func (l Limits) withDefaults() Limits {
	l.Metadata = orDefault(l.Metadata, defaultMetadata)
	l.IndexDepth = orDefault(l.IndexDepth, defaultIndexDepth)
	l.IndexProbes = orDefault(l.IndexProbes, defaultIndexProbes)
	l.Layers = orDefault(l.Layers, defaultLayers)
	l.Ratio = orDefault(l.Ratio, defaultRatio)
	l.RatioFloor = orDefault(l.RatioFloor, defaultRatioFloor)
	l.ZstdWindow = orDefault(l.ZstdWindow, defaultZstdWindow)
	l.ArchiveEntries = orDefault(l.ArchiveEntries, defaultArchiveEntries)
	l.ArchiveNames = orDefault(l.ArchiveNames, defaultArchiveNames)
	l.ArchiveSize = orDefault(l.ArchiveSize, defaultArchiveSize)
	l.Redirects = orDefault(l.Redirects, defaultRedirects)
	l.Tags = orDefault(l.Tags, defaultTags)
	l.TagPages = orDefault(l.TagPages, defaultTagPages)
	l.RangeFloor = orDefault(l.RangeFloor, defaultRangeFloor)
	l.RangeConnections = orDefault(l.RangeConnections, defaultRangeConnections)
	l.RangeSize = orDefault(l.RangeSize, defaultRangeSize)
	l.RangeMemory = orDefault(l.RangeMemory, defaultRangeMemory)
	return l
}

func orDefault[T int | int64](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
