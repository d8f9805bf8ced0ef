package pull

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// openArchive opens the file of an oci-archive: or docker-archive: reference.
func openArchive(ctx context.Context, c *Client, ref Reference) (provider, error) {
	limits := c.Limits.withDefaults()
	name := ref.Transport.String() + " " + ref.Path
	if ref.Path == "-" {
		name = ref.Transport.String() + " on standard input"
	}
	file, err := openArchiveFile(ctx, c, ref.Path, name)
	if err != nil {
		return nil, err
	}
	p, err := newArchiveProvider(ctx, file, ref, name, limits)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return p, nil
}

func newArchiveProvider(ctx context.Context, file *archiveFile, ref Reference, name string, limits Limits) (provider, error) {
	set, err := indexArchive(ctx, file, name, limits)
	if err != nil {
		return nil, err
	}
	_, isDocker := set.entries[dockerManifestFile]
	_, isLayout := set.entries[ocispec.ImageIndexFile]
	switch {
	case ref.Transport == DockerArchive && isDocker:
		return newDockerArchive(set, ref, name, limits)
	case isLayout:
		l, err := newLayout(set, name, limits)
		if err == nil && ref.Transport == DockerArchive && ref.Repository != "" {
			l.want = ref.Host + "/" + ref.Repository + ":" + ref.Tag
		}
		return l, err
	case isDocker:
		return nil, &FormatError{Object: name, Reason: "not an OCI image layout but the output of docker save; read it with docker-archive:"}
	case set.has("repositories"):
		return nil, &UnsupportedError{Object: name, What: "the output of a docker save older than 1.10; load and save it again"}
	}
	return nil, &FormatError{Object: name, Reason: fmt.Sprintf("not an image: it has neither %s nor %s", dockerManifestFile, ocispec.ImageIndexFile)}
}

// archiveEntry is where an entry's content lies in the file, or the name of the
// entry that has it.
type archiveEntry struct {
	offset, size int64
	link         string // cleaned, "" for a regular file
}

// archiveSet is a tar file with an index of its entries.
type archiveSet struct {
	file    *archiveFile
	name    string
	entries map[string]archiveEntry
}

// indexArchive notes where each file lies. Contents are skipped by seeking, so
// that even large archives take a few reads per entry. Of several entries with
// one name the last counts, as when extracting.
func indexArchive(ctx context.Context, file *archiveFile, name string, limits Limits) (*archiveSet, error) {
	set := &archiveSet{file: file, name: name, entries: map[string]archiveEntry{}}
	section := io.NewSectionReader(file.data, 0, file.size)
	tr := tar.NewReader(section)
	var names int64
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return set, nil
		}
		if err != nil {
			return nil, archiveError(name, err)
		}
		if n >= limits.ArchiveEntries {
			return nil, &LimitError{Object: name, Limit: "ArchiveEntries", Max: int64(limits.ArchiveEntries), Got: int64(n) + 1}
		}
		if names += int64(len(h.Name) + len(h.Linkname)); names > limits.ArchiveNames {
			return nil, &LimitError{Object: name, Limit: "ArchiveNames", Max: limits.ArchiveNames, Got: names}
		}
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if err := set.add(h, offset); err != nil {
			return nil, err
		}
	}
}

// archiveError tells a damaged archive from a file that cannot be read.
func archiveError(name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return &FormatError{Object: name, Reason: "damaged tar archive: " + err.Error()}
}

func (s *archiveSet) add(h *tar.Header, offset int64) error {
	name := inArchive("", h.Name)
	switch h.Typeflag {
	case tar.TypeReg:
		for k := range h.PAXRecords {
			if strings.HasPrefix(k, "GNU.sparse.") {
				return s.sparse(h.Name)
			}
		}
		if h.Size > s.file.size-offset {
			return &FormatError{Object: s.name, Reason: fmt.Sprintf("entry %q is cut short by the end of the file", h.Name)}
		}
		s.entries[name] = archiveEntry{offset: offset, size: h.Size}
	case tar.TypeGNUSparse:
		return s.sparse(h.Name)
	case tar.TypeSymlink:
		s.entries[name] = archiveEntry{link: inArchive(path.Dir(name), h.Linkname)}
	case tar.TypeLink:
		s.entries[name] = archiveEntry{link: inArchive("", h.Linkname)}
	}
	return nil
}

func (s *archiveSet) sparse(name string) error {
	return &FormatError{Object: s.name, Reason: fmt.Sprintf("entry %q is a sparse file; make the archive without sparse files", name)}
}

// inArchive resolves name relative to dir; the result never leaves the archive.
func inArchive(dir, name string) string {
	if !path.IsAbs(name) {
		name = path.Join("/", dir, name)
	}
	return strings.TrimPrefix(path.Clean(name), "/")
}

func (s *archiveSet) has(name string) bool {
	_, ok := s.entries[name]
	return ok
}

// maxLinks is how many links one after the other lead to an entry; docker save
// makes one.
const maxLinks = 16

// find follows links to the entry with the content.
func (s *archiveSet) find(name string) (archiveEntry, error) {
	at := inArchive("", name)
	for range maxLinks {
		e, ok := s.entries[at]
		if !ok {
			return e, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if e.link == "" {
			return e, nil
		}
		at = e.link
	}
	return archiveEntry{}, &FormatError{Object: s.name, Reason: fmt.Sprintf("entry %q is a chain of more than %d links", name, maxLinks)}
}

// open implements fileSet.
func (s *archiveSet) open(name string) (io.ReadCloser, int64, error) {
	e, err := s.find(name)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(io.NewSectionReader(s.file.data, e.offset, e.size)), e.size, nil
}

func (s *archiveSet) close() error { return s.file.Close() }
