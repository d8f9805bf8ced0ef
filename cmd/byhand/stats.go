package main

import (
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// statistics gathers what the layers of a pull took, for --json.
type statistics struct {
	began  time.Time
	mu     sync.Mutex
	layers map[digest.Digest]*layerStats // by the blob's digest
}

// summary is what pull, unpack, bundle and pull-and-unpack print with --json.
type summary struct {
	Image     string        `json:"image"`
	Digest    digest.Digest `json:"digest"` // of the manifest
	Directory string        `json:"directory,omitempty"`
	LowerDirs []string      `json:"lowerDirs,omitzero"` // base first; nil for pull, which makes none
	Layers    []layerStats  `json:"layers"`
	Total     totalStats    `json:"total"`
}

// layerStats is one layer. Times are in seconds.
type layerStats struct {
	Digest   digest.Digest `json:"digest"`
	DiffID   digest.Digest `json:"diffId"`
	State    string        `json:"state"`
	Fetched  int64         `json:"fetchedBytes"`
	TarBytes int64         `json:"tarBytes"`
	Entries  int           `json:"entries"`
	stageSeconds
	Elapsed seconds `json:"elapsedSeconds"`
}

// stageSeconds are the stages that a layer goes through, side by side.
type stageSeconds struct {
	Network    seconds `json:"networkSeconds"`
	Hash       seconds `json:"hashSeconds"`
	Decompress seconds `json:"decompressSeconds"`
	Unpack     seconds `json:"unpackSeconds"`
}

// totalStats is all layers.
type totalStats struct {
	Fetched  int64 `json:"fetchedBytes"`
	TarBytes int64 `json:"tarBytes"`
	Entries  int   `json:"entries"`
	stageSeconds
	Wall seconds `json:"wallSeconds"`
}

// seconds is a duration that JSON has in seconds, to the microsecond.
type seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', 6, 64), nil
}

func newStatistics() *statistics {
	return &statistics{began: time.Now(), layers: map[digest.Digest]*layerStats{}}
}

// update changes what is known of one layer.
func (s *statistics) update(layer digest.Digest, change func(*layerStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.layers[layer]
	if l == nil {
		l = &layerStats{Digest: layer, State: statePresent}
		s.layers[layer] = l
	}
	change(l)
}

func (s *statistics) pulled(e pull.Event) {
	if e.Kind != pull.EventDone {
		return
	}
	s.update(e.Digest, func(l *layerStats) {
		l.State, l.Fetched, l.TarBytes = "pulled", e.Stats.Bytes, e.Stats.TarBytes
		l.Network, l.Hash, l.Decompress = seconds(e.Stats.Network), seconds(e.Stats.Hash), seconds(e.Stats.Decompress)
	})
}

func (s *statistics) stored(layer digest.Digest, e overlay.Event) {
	switch e.Kind {
	case overlay.EventUnpacked:
		s.update(layer, func(l *layerStats) { l.Unpack = seconds(e.Work) })
	case overlay.EventCommitted:
		s.update(layer, func(l *layerStats) {
			l.State, l.Elapsed = "unpacked", seconds(e.Elapsed)
			l.TarBytes, l.Entries = e.Layer.TarSize, e.Layer.Counts.Entries
		})
	case overlay.EventPresent:
		s.update(layer, func(l *layerStats) {
			l.TarBytes, l.Entries = e.Layer.TarSize, e.Layer.Counts.Entries
		})
	}
}

// summarize is all of it in the order of the image's layers, base first.
func (s *statistics) summarize(img *pull.Image) summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := summary{
		Image: img.Reference.String(), Digest: img.Manifest.Descriptor.Digest,
		Layers: make([]layerStats, 0, len(img.Layers)),
	}
	counted := map[digest.Digest]bool{}
	for _, layer := range img.Layers {
		d := layer.Descriptor.Digest
		l := layerStats{Digest: d, State: statePresent}
		if known := s.layers[d]; known != nil {
			l = *known
		}
		l.DiffID = layer.DiffID()
		sum.Layers = append(sum.Layers, l)
		if !counted[d] { // an image may have a layer twice
			counted[d] = true
			sum.Total.add(l)
		}
	}
	sum.Total.Wall = seconds(time.Since(s.began))
	return sum
}

func (t *totalStats) add(l layerStats) {
	t.Fetched += l.Fetched
	t.TarBytes += l.TarBytes
	t.Entries += l.Entries
	t.Network += l.Network
	t.Hash += l.Hash
	t.Decompress += l.Decompress
	t.Unpack += l.Unpack
}

// printResult ends a command that made something of an image: plain is what it
// prints, lines of text, or with --json everything that is known. layers is nil
// where the command unpacks nothing.
func (s *session) printResult(img *pull.Image, dir string, layers []overlay.Layer, plain ...any) error {
	if s.flags.Bool("json") {
		sum := s.stats.summarize(img)
		sum.Directory = dir
		if layers != nil {
			sum.LowerDirs = dirs(layers)
		}
		return s.printJSON(sum)
	}
	for _, line := range plain {
		if err := s.println(line); err != nil {
			return err
		}
	}
	return nil
}
