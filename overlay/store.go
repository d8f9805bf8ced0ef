package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/userns"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// Options says how a [Store] makes layers. The zero value is right for root on
// a machine that may lose power.
type Options struct {
	// UserXattr writes opaque markers as user.overlay.opaque, for overlays
	// mounted in a user namespace, instead of trusted.overlay.opaque.
	UserXattr bool
	// Owners is what becomes of the owners that layers name.
	Owners unpack.Owners
	// Limits bounds what one layer may hold; zero fields are defaults.
	Limits unpack.Limits
	// Sync waits for the disk before a layer gets its final name, so that it
	// counts after a power loss too. Without it a layer that may not have
	// reached the disk before a restart is made again.
	Sync bool
	// NoOpenat2 makes layers as on kernels without openat2(2).
	NoOpenat2 bool
	// Markers has EventUnpacked name the whiteouts and opaque directories.
	Markers bool
	// Observe is told of every step, from several goroutines at once. It must
	// return soon.
	Observe func(Event)
}

// Store is a directory of images and unpacked layers; the package comment
// shows its layout. Its methods may be called from several goroutines, and
// several processes may work on one store. What a Store added or looked up
// is safe from removal by other processes until Close.
type Store struct {
	opts   Options
	layout layout
	boot   string

	patience time.Duration // with the file systems of bundles

	mu    sync.Mutex
	owner *owner // made by the first write

	recorders recorders
}

// Open opens the store in dir, making what is missing of it. A store that is
// whole is not written to, so that Open works for readers who may not write.
// A directory that holds anything else than a store or an OCI image layout is
// refused with a [CorruptError].
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s := &Store{opts: o, layout: layout{root: abs}, boot: bootID(), patience: lookPatience}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends this process's claims on the store and removes its leftovers in
// staging. The store itself stays as it is.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner == nil {
		return nil
	}
	err := s.owner.close(s.layout)
	s.owner = nil
	return err
}

// Dir returns the store's directory as an absolute path.
func (s *Store) Dir() string { return s.layout.root }

// dirMode is a directory of the store and the mode it is made with. Layers
// hold set-user-ID programs, and blobs are of images that took a login to get,
// so only the store's owner may reach them.
type dirMode struct {
	path string
	mode fs.FileMode
}

func (s *Store) dirs() []dirMode {
	return []dirMode{
		{s.layout.blobs(), 0o700},
		{s.layout.layers(), 0o700},
		{s.layout.links(), 0o700},
		{s.layout.staging(), 0o700},
		{s.layout.bundles(), 0o700},
	}
}

// prepare checks the store and makes what is missing.
func (s *Store) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.layout.root, 0o755); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if err := s.checkOwner(); err != nil {
		return err
	}
	fresh, err := s.lacksLayoutFile()
	if err != nil {
		return err
	}
	for _, d := range s.dirs() {
		if err := ensureDir(d); err != nil {
			return fmt.Errorf("open store: %w", err)
		}
	}
	if fresh {
		return s.writeLayoutFile(ctx)
	}
	return nil
}

// lacksLayoutFile says whether oci-layout has to be written: in a new store,
// and in one that lost it. Anything else than a store is an error.
func (s *Store) lacksLayoutFile() (bool, error) {
	err := s.checkLayoutFile()
	if err == nil {
		return false, nil
	}
	var corrupt *CorruptError
	missing, damaged := errors.Is(err, fs.ErrNotExist), errors.As(err, &corrupt) && !corrupt.foreign
	if missing || damaged {
		// What else would have a store.json like ours? And what the file says is
		// always the same.
		if _, known, ferr := s.Format(); ferr == nil && known {
			return true, nil
		}
	}
	if !missing {
		return false, err
	}
	if err := s.checkForeign(); err != nil {
		if s.checkLayoutFile() == nil {
			return false, nil // another process has made the store meanwhile
		}
		return false, err
	}
	return true, nil
}

// ensureDir makes a directory with exactly the mode wanted, whatever the umask.
func ensureDir(d dirMode) error {
	err := os.Mkdir(d.path, d.mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(d.path, d.mode)
}

// checkOwner keeps root out of a store that somebody else can change: a link
// in the place of layers would lead its writes anywhere. Others than root may
// look at whatever store they can reach.
func (s *Store) checkOwner() error {
	if os.Geteuid() != 0 || userns.RunningInUserNS() {
		return nil
	}
	var st unix.Stat_t
	if err := sys.Stat(s.layout.root, &st); err != nil {
		return fmt.Errorf("open store: %w", &fs.PathError{Op: "stat", Path: s.layout.root, Err: err})
	}
	switch {
	case st.Uid != 0:
		return &CorruptError{
			Path: s.layout.root, Reason: fmt.Sprintf("the store belongs to user %d, who could lead root's writes elsewhere", st.Uid),
			Remedy: "run byhand as that user, or choose another directory",
		}
	case st.Mode&0o022 != 0:
		return &CorruptError{
			Path: s.layout.root, Reason: fmt.Sprintf("mode %04o lets others write to root's store", st.Mode&0o7777),
			Remedy: "chmod go-w it, or choose another directory",
		}
	}
	return nil
}

// checkLayoutFile checks the oci-layout file (image-spec, image-layout.md,
// "oci-layout file").
func (s *Store) checkLayoutFile() error {
	path := s.layout.ociLayout()
	remedy := "it is not a store of byhand; choose another directory"
	raw, err := readSmall(path)
	if err != nil {
		return withRemedy(err, remedy)
	}
	var l ocispec.ImageLayout
	if err := json.Unmarshal(raw, &l); err != nil {
		return &CorruptError{Path: path, Reason: "not JSON: " + err.Error(), Remedy: remedy}
	}
	if l.Version != ocispec.ImageLayoutVersion {
		return &CorruptError{
			Path:    path,
			Reason:  fmt.Sprintf("imageLayoutVersion is %q, expected %q", l.Version, ocispec.ImageLayoutVersion),
			Remedy:  remedy,
			foreign: l.Version != "",
		}
	}
	return nil
}

// checkForeign refuses a directory that has things in it but is no store.
func (s *Store) checkForeign() error {
	entries, err := os.ReadDir(s.layout.root)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	begun := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == nameStaging })
	for _, e := range entries {
		switch e.Name() {
		case "lost+found":
			continue // a fresh file system
		case nameBlobs, nameLayers, nameLinks, nameStaging, nameBundles:
			continue // an Open that was killed
		case nameIndex:
			if begun { // the same; others have an index.json too
				continue
			}
		}
		return &CorruptError{
			Path:   s.layout.root,
			Reason: fmt.Sprintf("the directory is not a store, but holds %q", e.Name()),
			Remedy: "choose an empty directory",
		}
	}
	return nil
}

func (s *Store) writeLayoutFile(ctx context.Context) error {
	raw, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return fmt.Errorf("write %s: %w", nameOCILayout, err)
	}
	if err := s.initIndex(ctx); err != nil {
		return err
	}
	return s.writeFile(s.layout.ociLayout(), raw, 0o644)
}

// metadataLimit bounds the store's own documents in bytes: an index of 100,000
// images stays below it.
const metadataLimit = 64 << 20

// readSmall reads a document of the store whole.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)   // a FIFO in its place must not hang
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // ENXIO: a socket
		return nil, &CorruptError{Path: path, Reason: "not a regular file"}
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &CorruptError{Path: path, Reason: "not a regular file"}
	}
	if st.Size() > metadataLimit {
		return nil, &CorruptError{Path: path, Reason: fmt.Sprintf("%d bytes is more than the %d a document may have", st.Size(), metadataLimit)}
	}
	raw := make([]byte, st.Size())
	n, err := readFull(f, raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return raw[:n], nil
}

// observe tells the caller of a step.
func (s *Store) observe(e Event) {
	if s.opts.Observe != nil {
		s.opts.Observe(e)
	}
}

// warn tells the caller of something that does not stop the work.
func (s *Store) warn(err error, doing string) {
	s.observe(Event{Kind: EventWarning, Err: err, Message: strings.TrimSpace(doing + ": " + err.Error())})
}
