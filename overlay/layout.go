package overlay

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Names of the store's fixed entries. See the package comment.
const (
	nameOCILayout = "oci-layout"
	nameIndex     = "index.json"
	nameFormat    = "store.json"
	nameBlobs     = "blobs"
	nameLayers    = "layers"
	nameLinks     = "l"
	nameStaging   = "staging"
	nameBundles   = "bundles"

	nameDiff      = "diff"
	nameLink      = "link"
	nameLower     = "lower"
	nameLayerJSON = "layer.json"
	nameRecord    = "tar-record.s2"

	suffixOwner = ".owner"
	suffixLock  = ".lock"
	suffixPart  = ".part"
	suffixLayer = ".layer"
	suffixJSON  = ".json"
	suffixRef   = ".ref"
)

// layout builds every path of the store; nothing else does.
type layout struct{ root string }

func (l layout) ociLayout() string { return filepath.Join(l.root, nameOCILayout) }
func (l layout) index() string     { return filepath.Join(l.root, nameIndex) }
func (l layout) format() string    { return filepath.Join(l.root, nameFormat) }
func (l layout) blobs() string     { return filepath.Join(l.root, nameBlobs) }
func (l layout) layers() string    { return filepath.Join(l.root, nameLayers) }
func (l layout) links() string     { return filepath.Join(l.root, nameLinks) }
func (l layout) staging() string   { return filepath.Join(l.root, nameStaging) }
func (l layout) bundles() string   { return filepath.Join(l.root, nameBundles) }

// indexLock is the directory that is locked while index.json or store.json
// change. It is not the root: that is open to all, and whoever can open a
// directory can lock it for ever.
func (l layout) indexLock() string { return l.links() }

func (l layout) blobDir(a digest.Algorithm) string {
	return filepath.Join(l.root, nameBlobs, a.String())
}

func (l layout) blob(d digest.Digest) string {
	return filepath.Join(l.blobDir(d.Algorithm()), d.Encoded())
}

func (l layout) layer(c ChainID) string     { return filepath.Join(l.root, nameLayers, c.name()) }
func (l layout) diff(c ChainID) string      { return filepath.Join(l.layer(c), nameDiff) }
func (l layout) layerJSON(c ChainID) string { return filepath.Join(l.layer(c), nameLayerJSON) }
func (l layout) record(c ChainID) string    { return filepath.Join(l.layer(c), nameRecord) }
func (l layout) link(c ChainID) string      { return filepath.Join(l.root, nameLinks, c.short()) }

// linkTarget is what l/SHORT holds: relative, so that the store can be moved.
func (l layout) linkTarget(c ChainID) string {
	return filepath.Join("..", nameLayers, c.name(), nameDiff)
}

// lowerText is the content of a layer's lower file: the short links of its
// parents, nearest first. parents is base first.
func (l layout) lowerText(parents []ChainID) string {
	names := make([]string, 0, len(parents))
	for i := len(parents) - 1; i >= 0; i-- {
		names = append(names, nameLinks+"/"+parents[i].short())
	}
	return strings.Join(names, ":")
}

func (l layout) chainLock(c ChainID) string { return filepath.Join(l.staging(), c.name()+suffixLock) }
func (l layout) owner(id string) string     { return filepath.Join(l.staging(), id+suffixOwner) }

// part is where a blob grows. The boot is in the name because what a killed
// machine left in the page cache may never have reached the disk.
func (l layout) part(d digest.Digest, boot string) string {
	return filepath.Join(l.staging(), d.Algorithm().String()+"-"+d.Encoded()+"."+boot+suffixPart)
}

// parked is where a verified layer waits for those below it. It is good in the
// boot that its name says.
func (l layout) parked(c ChainID, boot string) string {
	return filepath.Join(l.staging(), c.name()+"."+boot+suffixLayer)
}

// work is the n-th thing that the owner id has in staging.
func (l layout) work(id string, n int64) string {
	return filepath.Join(l.staging(), id+"-"+strconv.FormatInt(n, 10))
}

func (l layout) bundle(key string) string    { return filepath.Join(l.bundles(), key+suffixJSON) }
func (l layout) bundleRef(key string) string { return filepath.Join(l.bundles(), key+suffixRef) }

// stagingKind says what a name in staging is.
type stagingKind int

const (
	stagingForeign stagingKind = iota // not made by this package
	stagingOwner                      // an owner's lock; id is the owner
	stagingWork                       // a tree or file in work; id is the owner
	stagingLock                       // the lock of a chain
	stagingPart                       // a blob in work; id is the boot
	stagingParked                     // a verified layer; id is the boot
)

// ownerIDLen is the length of an owner's ID: 8 random bytes in hex.
const ownerIDLen = 16

// classify recognizes a name in staging.
func classify(name string) (kind stagingKind, id string) {
	if id, ok := strings.CutSuffix(name, suffixOwner); ok && isOwnerID(id) {
		return stagingOwner, id
	}
	if base, ok := strings.CutSuffix(name, suffixLock); ok {
		if _, ok := chainOfName(base); ok {
			return stagingLock, ""
		}
	}
	if base, ok := strings.CutSuffix(name, suffixPart); ok {
		if blob, boot, ok := strings.Cut(base, "."); ok && isBlobName(blob) && isBoot(boot) {
			return stagingPart, boot
		}
	}
	if base, ok := strings.CutSuffix(name, suffixLayer); ok {
		if chain, boot, ok := strings.Cut(base, "."); ok && isBoot(boot) {
			if _, ok := chainOfName(chain); ok {
				return stagingParked, boot
			}
		}
	}
	if id, n, ok := strings.Cut(name, "-"); ok && isOwnerID(id) {
		if _, err := strconv.ParseInt(n, 10, 64); err == nil {
			return stagingWork, id
		}
	}
	return stagingForeign, ""
}

// isBlobName recognizes ALGORITHM-HEX.
func isBlobName(s string) bool {
	alg, hex, ok := strings.Cut(s, "-")
	return ok && digest.NewDigestFromEncoded(digest.Algorithm(alg), hex).Validate() == nil
}

// isBoot recognizes a boot ID, which is a UUID, or what stands for one.
func isBoot(s string) bool { return s != "" && !strings.ContainsAny(s, "/. \n\x00") }

func isOwnerID(s string) bool {
	if len(s) != ownerIDLen {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
