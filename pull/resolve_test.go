package pull_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

const (
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func platform(s string) pull.Platform {
	parts := append(strings.Split(s, "/"), "", "")
	return pull.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}

func TestResolveDocuments(t *testing.T) {
	b := newBlobs(t)
	base, top := gzipLayer(t, words(1000, 1)), gzipLayer(t, words(2000, 2))
	amd := b.image(amd64(), base, top)
	index := b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{
			withPlatform(b.image(platform("linux/arm64")), platform("linux/arm64")),
			withPlatform(amd, amd64()),
		},
	})
	b.index(named(index, "1.0"), named(amd, "direct"))
	c := client(t, &pull.Client{})

	img, err := c.Resolve(t.Context(), b.ref(":1.0"), amd64())
	if err != nil {
		t.Fatal(err)
	}
	if img.Index == nil || img.Index.Descriptor.Digest != index.Digest || digest.FromBytes(img.Index.Raw) != index.Digest {
		t.Errorf("index %+v, want %s", img.Index, index.Digest)
	}
	m := img.Manifest
	if m.Descriptor.Digest != amd.Digest || m.Descriptor.Size != amd.Size || digest.FromBytes(m.Raw) != amd.Digest || m.Descriptor.MediaType != amd.MediaType {
		t.Errorf("manifest %+v, want %+v", m.Descriptor, amd)
	}
	if m.Descriptor.Platform == nil || m.Descriptor.Platform.Architecture != "amd64" {
		t.Errorf("manifest's platform %v, want linux/amd64", m.Descriptor.Platform)
	}
	if digest.FromBytes(img.Config.Raw) != img.Config.Descriptor.Digest || img.Spec.Architecture != "amd64" {
		t.Errorf("config %+v of %s", img.Config.Descriptor, img.Spec.Architecture)
	}
	if len(img.Layers) != 2 {
		t.Fatalf("%d layers, want 2", len(img.Layers))
	}
	for i, want := range []layerBlob{base, top} {
		l := img.Layers[i]
		if l.Index != i || l.DiffID() != digest.FromBytes(want.tar) || l.Descriptor.Digest != digest.FromBytes(want.packed) {
			t.Errorf("layer %d: %+v", i, l.Descriptor)
		}
		wantName := fmt.Sprintf("layer %d of oci:%s:1.0 (%s)", i+1, b.dir, l.Descriptor.Digest)
		if l.String() != wantName {
			t.Errorf("name %q, want %q", l, wantName)
		}
	}

	for _, suffix := range []string{":direct", "@" + amd.Digest.String()} {
		img, err := c.Resolve(t.Context(), b.ref(suffix), amd64())
		if err != nil || img.Index != nil || img.Manifest.Descriptor.Digest != amd.Digest {
			t.Errorf("%s: %v; want the manifest and no index", suffix, err)
		}
	}
	img, err = c.Resolve(t.Context(), b.ref("@"+index.Digest.String()), platform("linux/arm64"))
	if err != nil || img.Index == nil || img.Spec.Architecture != "arm64" {
		t.Errorf("index by digest: %v", err)
	}
}

// Which entry of an index serves a platform.
func TestResolvePlatform(t *testing.T) {
	for _, tt := range []struct {
		want string
		have string
		pick string // "": PlatformError
	}{
		{"linux/amd64", "linux/arm64 linux/amd64", "linux/amd64"},
		{"linux/arm64", "linux/arm64/v8 linux/amd64", "linux/arm64/v8"},
		{"linux/arm64/v8", "linux/amd64 linux/arm64", "linux/arm64"},
		{"linux/arm64/v9", "linux/arm64", "linux/arm64"},
		{"linux/arm64", "linux/arm64/v9", ""},
		{"linux/arm/v7", "linux/arm/v5 linux/arm/v6", "linux/arm/v6"},
		{"linux/arm/v7", "linux/arm/v5 linux/arm/v7 linux/arm/v6", "linux/arm/v7"},
		{"linux/arm/v7", "linux/arm", "linux/arm"},
		{"linux/arm", "linux/arm/v6 linux/arm/v8", "linux/arm/v6"},
		{"linux/arm/v6", "linux/arm/v7", ""},
		{"linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", "linux/amd64/v2"},
		{"linux/amd64/v1", "linux/amd64", "linux/amd64"},
		{"linux/amd64", "linux/amd64/v2", ""},
		{"linux/x86_64", "linux/amd64", "linux/amd64"},
		{"linux/amd64", "linux/x86_64", "linux/x86_64"},
		{"linux/amd64", "linux/386", ""}, // asked for by name: nothing else will do
		{"linux/arm64", "linux/arm/v7", ""},
		{"linux/s390x", "linux/amd64 windows/s390x", ""},
		{"linux/amd64", "", ""},
		{"linux/amd64", "linux/amd64 linux/amd64", "linux/amd64"},
		{"linux/ppc64le", "linux/ppc64le", "linux/ppc64le"},
	} {
		t.Run(tt.want+" in "+tt.have, func(t *testing.T) {
			b := newBlobs(t)
			var entries []ocispec.Descriptor
			for i, s := range strings.Fields(tt.have) {
				layer := gzipLayer(t, []byte{byte(i)}) // so that manifests differ
				entries = append(entries, withPlatform(b.image(platform(s), layer), platform(s)))
			}
			b.index(entries...)
			p, err := pull.ParsePlatform(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 1 { // a layout with one image is that image
				b.index(b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: entries}))
			}
			img, err := client(t, &pull.Client{}).Resolve(t.Context(), b.ref(""), p)
			var pe *pull.PlatformError
			switch {
			case len(entries) == 0:
				var nf *pull.NotFoundError
				if !errors.As(err, &nf) {
					t.Errorf("error %v, want a NotFoundError", err)
				}
			case tt.pick == "" && !errors.As(err, &pe):
				t.Errorf("error %v, want a PlatformError", err)
			case tt.pick == "":
				want := strings.Fields(tt.have)
				if pe.Want != pull.FormatPlatform(p) || !slices.Equal(pe.Have, want) {
					t.Errorf("error %+v, want %s and %v", pe, tt.want, want)
				}
			case err != nil:
				t.Error(err)
			case img.Manifest.Descriptor.Digest != entries[slices.Index(strings.Fields(tt.have), tt.pick)].Digest:
				t.Errorf("picked %s, want %s", pull.FormatPlatform(img.Spec.Platform), tt.pick)
			}
		})
	}
}

// Attestations are never an image, whatever else there is.
func TestResolveAttestation(t *testing.T) {
	b := newBlobs(t)
	unknown := platform("unknown/unknown")
	attest := withPlatform(b.image(unknown), unknown)
	disguised := withPlatform(b.image(amd64(), gzipLayer(t, []byte("x"))), amd64())
	disguised.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	nameless := b.image(amd64(), gzipLayer(t, []byte("y")))
	nameless.Annotations = disguised.Annotations
	real := withPlatform(b.image(amd64(), gzipLayer(t, []byte("z"))), amd64())

	b.index(attest, disguised, nameless, real)
	img := b.mustResolve(&pull.Client{})
	if img.Manifest.Descriptor.Digest != real.Digest {
		t.Errorf("picked %s, want %s", img.Manifest.Descriptor.Digest, real.Digest)
	}
	b.index(attest, disguised, nameless)
	_, err := b.resolve(client(t, &pull.Client{}))
	var pe *pull.PlatformError
	if !errors.As(err, &pe) || len(pe.Have) != 0 {
		t.Errorf("error %v, want a PlatformError with nothing to choose", err)
	}
}

// Entries that name no platform are opened to see.
func TestResolveWithoutPlatform(t *testing.T) {
	b := newBlobs(t)
	arm, amd := b.image(platform("linux/arm64")), b.image(amd64())
	nested := b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{withPlatform(amd, amd64())},
	})
	for name, entries := range map[string][]ocispec.Descriptor{
		"manifests":       {arm, amd},
		"nested":          {arm, nested},
		"empty platforms": {withPlatform(arm, pull.Platform{}), withPlatform(amd, pull.Platform{})},
	} {
		b.index(entries...)
		img, err := b.resolve(client(t, &pull.Client{}))
		if err != nil || img.Manifest.Descriptor.Digest != amd.Digest {
			t.Errorf("%s: %v; want the amd64 image", name, err)
		}
	}
	b.index(arm, named(b.image(platform("linux/riscv64")), ""))
	_, err := b.resolve(client(t, &pull.Client{}))
	var pe *pull.PlatformError
	if !errors.As(err, &pe) || !slices.Equal(pe.Have, []string{"linux/arm64", "linux/riscv64"}) {
		t.Errorf("error %v, want a PlatformError that lists both", err)
	}
	b.index(arm, named(b.image(platform("linux/riscv64")), ""), amd)
	_, err = b.resolve(client(t, &pull.Client{Limits: pull.Limits{IndexProbes: 2}}))
	var le *pull.LimitError
	if !errors.As(err, &le) || le.Limit != "IndexProbes" || le.Max != 2 {
		t.Errorf("error %v, want a LimitError of IndexProbes", err)
	}
}

func TestResolveNesting(t *testing.T) {
	b := newBlobs(t)
	d := withPlatform(b.image(amd64()), amd64())
	outer := d
	for depth := 1; depth <= 5; depth++ {
		outer = b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{outer},
		})
		b.index(outer)
		img, err := b.resolve(client(t, &pull.Client{}))
		var le *pull.LimitError
		switch {
		case depth <= 4 && err != nil:
			t.Errorf("depth %d: %v", depth, err)
		case depth <= 4 && img.Index.Descriptor.Digest != outer.Digest:
			t.Errorf("depth %d: index %s, want the outermost %s", depth, img.Index.Descriptor.Digest, outer.Digest)
		case depth > 4 && (!errors.As(err, &le) || le.Limit != "IndexDepth" || le.Max != 4 || le.Got != 5):
			t.Errorf("depth %d: error %v, want a LimitError of IndexDepth", depth, err)
		}
	}
}

func TestResolveDocker(t *testing.T) {
	b := newBlobs(t)
	l := gzipLayer(t, words(500, 1))
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: dockerManifest,
		Config: b.putJSON(dockerConfig, configFor(amd64(), l)),
		Layers: []ocispec.Descriptor{b.put(dockerLayer, l.packed)},
	}
	b.index(b.putJSON(dockerList, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: dockerList,
		Manifests: []ocispec.Descriptor{withPlatform(b.putJSON(dockerManifest, m), amd64())},
	}))
	img := b.mustResolve(&pull.Client{})
	if img.Manifest.Descriptor.MediaType != dockerManifest || img.Index.Descriptor.MediaType != dockerList {
		t.Errorf("media types %s, %s", img.Manifest.Descriptor.MediaType, img.Index.Descriptor.MediaType)
	}
	if _, err := readLayer(t, img.Layers[0], pull.OpenOptions{}); err != nil {
		t.Error(err)
	}
}

// Manifest and config, each damaged in each way.
func TestResolveDamage(t *testing.T) {
	for _, object := range []string{"index", "manifest", "config"} {
		for _, tt := range []struct {
			name   string
			change func([]byte) []byte
			size   int64 // change of it
		}{
			{"flipped byte", flip(20), 0},
			{"space for newline", func(b []byte) []byte { return bytes.Replace(b, []byte(","), []byte(";"), 1) }, 0},
			{"cut", cut(1), -1},
			{"empty", func([]byte) []byte { return nil }, -1 << 40},
			{"one more byte", extend("\n"), 1},
		} {
			t.Run(object+"/"+tt.name, func(t *testing.T) {
				b := newBlobs(t)
				manifest := withPlatform(b.image(amd64()), amd64())
				index := b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{manifest}})
				b.index(index)
				config := b.mustResolve(&pull.Client{}).Config.Descriptor
				victim := map[string]ocispec.Descriptor{"index": index, "manifest": manifest, "config": config}[object]
				var got []byte
				b.overwrite(victim.Digest, func(data []byte) []byte { got = tt.change(data); return got })

				_, err := b.resolve(client(t, &pull.Client{}))
				var de *pull.DigestError
				var se *pull.SizeError
				if tt.size == 0 && (!errors.As(err, &de) || de.Want != victim.Digest || de.Got != digest.FromBytes(got)) {
					t.Errorf("error %v, want a DigestError with %s and %s", err, victim.Digest, digest.FromBytes(got))
				}
				if tt.size != 0 && (!errors.As(err, &se) || se.Want != victim.Size || se.Got != int64(len(got))) {
					t.Errorf("error %v, want a SizeError with %d and %d", err, victim.Size, len(got))
				}
				if err != nil && !strings.Contains(err.Error(), b.dir) {
					t.Errorf("error %q does not name the image", err)
				}
			})
		}
	}
}

// A reference's own digest is what the manifest must have.
func TestResolveReferenceDigest(t *testing.T) {
	b := newBlobs(t)
	d := b.image(amd64())
	b.index(d)
	b.overwrite(d.Digest, extend(" "))
	_, err := client(t, &pull.Client{}).Resolve(t.Context(), b.ref("@"+d.Digest.String()), amd64())
	var de *pull.DigestError
	if !errors.As(err, &de) || de.Want != d.Digest {
		t.Errorf("error %v, want a DigestError for %s", err, d.Digest)
	}
	missing := digest.FromString("missing")
	_, err = client(t, &pull.Client{}).Resolve(t.Context(), b.ref("@"+missing.String()), amd64())
	var nf *pull.NotFoundError
	if !errors.As(err, &nf) || !strings.Contains(nf.Object, missing.String()) {
		t.Errorf("error %v, want a NotFoundError", err)
	}
}

// What manifests are refused, and as what.
func TestResolveRefused(t *testing.T) {
	b := newBlobs(t)
	l := gzipLayer(t, words(500, 1))
	layer := b.put(ocispec.MediaTypeImageLayerGzip, l.packed)
	config := b.putJSON(ocispec.MediaTypeImageConfig, configFor(amd64(), l))
	good := func() map[string]any {
		return map[string]any{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
			"config": config, "layers": []ocispec.Descriptor{layer},
		}
	}
	with := func(kv ...any) any {
		m := good()
		for i := 0; i < len(kv); i += 2 {
			if k, v := kv[i].(string), kv[i+1]; v == nil {
				delete(m, k)
			} else {
				m[k] = v
			}
		}
		return m
	}
	withConfig := func(v any) any { return with("config", b.putJSON(ocispec.MediaTypeImageConfig, v)) }
	changed := func(d ocispec.Descriptor, f func(*ocispec.Descriptor)) ocispec.Descriptor { f(&d); return d }
	type m = map[string]any
	diffIDs := []digest.Digest{digest.FromBytes(l.tar)}

	type refusal struct {
		name string
		doc  any
		kind string // Format, Unsupported, Limit
		text string
	}
	cases := []refusal{
		{"manifest with manifests", with("manifests", []ocispec.Descriptor{}), "Format", "read both as an index and as a manifest"},
		{"manifest with Manifests", with("Manifests", []ocispec.Descriptor{}), "Format", `"Manifests"`},
		{"manifest with fsLayers", with("fsLayers", []string{}), "Format", "both"},
		{"layers twice", raw(strings.Replace(string(mustJSON(t, good())), "{", `{"layers":[],`, 1)), "Format", "twice"},
		{"index type on a manifest", with("mediaType", ocispec.MediaTypeImageIndex), "Format", "announced as"},
		{"docker type on an OCI descriptor", with("mediaType", dockerManifest), "Format", "announced as"},
		{"unknown type", with("mediaType", "application/json"), "Format", "announced as"},
		{"nothing in it", m{"schemaVersion": 2}, "Format", "neither"},
		{"an array", []int{1}, "Format", "not a JSON object"},
		{"not JSON", raw("<html>"), "Format", "malformed"},
		{"two documents", raw(string(mustJSON(t, good())) + "{}"), "Format", "malformed"},
		{"layers of the wrong type", with("layers", "x"), "Format", "malformed"},
		{"schema version 3", with("schemaVersion", 3), "Format", "schema version 3"},
		{"artifact manifest", m{"mediaType": "application/vnd.oci.artifact.manifest.v1+json", "artifactType": "a/b", "blobs": []string{}}, "Unsupported", "artifact"},
		{"schema 1", m{"schemaVersion": 1, "fsLayers": []string{}, "history": []string{}}, "Unsupported", "schema 1"},
		{"helm chart", with("config", changed(config, func(d *ocispec.Descriptor) { d.MediaType = "application/vnd.cncf.helm.config.v1+json" })), "Unsupported", "Helm"},
		{"plugin", with("config", changed(config, func(d *ocispec.Descriptor) { d.MediaType = "application/vnd.docker.plugin.v1+json" })), "Unsupported", "plugin"},
		{"wasm", with("config", changed(config, func(d *ocispec.Descriptor) { d.MediaType = "application/vnd.wasm.config.v0+json" })), "Unsupported", "WebAssembly"},
		{"empty config", with("config", ocispec.DescriptorEmptyJSON), "Unsupported", "config is empty"},
		{"artifact type", with("config", ocispec.DescriptorEmptyJSON, "artifactType", "application/x-thing"), "Unsupported", "application/x-thing"},
		{"in-toto layer", with("layers", []ocispec.Descriptor{changed(layer, func(d *ocispec.Descriptor) { d.MediaType = "application/vnd.in-toto+json" })}), "Unsupported", "attestation"},
		{"encrypted layer", with("layers", []ocispec.Descriptor{changed(layer, func(d *ocispec.Descriptor) { d.MediaType += "+encrypted" })}), "Unsupported", "encrypted"},
		{"config without digest", with("config", changed(config, func(d *ocispec.Descriptor) { d.Digest = "" })), "Format", "no digest"},
		{"layer with md5", with("layers", []ocispec.Descriptor{changed(layer, func(d *ocispec.Descriptor) { d.Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" })}), "Format", "neither sha256 nor sha512"},
		{"layer with short digest", with("layers", []ocispec.Descriptor{changed(layer, func(d *ocispec.Descriptor) { d.Digest = d.Digest[:20] })}), "Format", "malformed digest"},
		{"layer with upper-case digest", with("layers", []ocispec.Descriptor{changed(layer, func(d *ocispec.Descriptor) {
			d.Digest = digest.Digest("sha256:" + strings.ToUpper(d.Digest.Encoded()))
		})}), "Format", "malformed digest"},
		{"negative size", with("layers", []ocispec.Descriptor{changed(layer, func(d *ocispec.Descriptor) { d.Size = -1 })}), "Format", "negative size"},
		{"huge config", with("config", changed(config, func(d *ocispec.Descriptor) { d.Size = 4<<20 + 1 })), "Limit", "Metadata"},
		{"config is no JSON", with("config", b.put(ocispec.MediaTypeImageConfig, []byte("x"))), "Format", "malformed image config"},
		{"command of numbers", withConfig(m{"os": "linux", "config": m{"Cmd": []int{1}}, "rootfs": m{"type": "layers", "diff_ids": diffIDs}}), "Format", "malformed image config"},
		{"windows", withConfig(m{"os": "windows", "architecture": "amd64", "rootfs": m{"type": "layers", "diff_ids": diffIDs}}), "Unsupported", "windows/amd64"},
		{"no diff IDs", withConfig(m{"os": "linux", "rootfs": m{"type": "layers"}}), "Format", "0 diff IDs for the 1 layers"},
		{"too many diff IDs", withConfig(m{"os": "linux", "rootfs": m{"type": "layers", "diff_ids": append(diffIDs, diffIDs...)}}), "Format", "2 diff IDs for the 1 layers"},
		{"diff ID malformed", withConfig(m{"os": "linux", "rootfs": m{"type": "layers", "diff_ids": []string{"sha256:xyz"}}}), "Format", "malformed digest"},
		{"diff ID unknown", withConfig(m{"os": "linux", "rootfs": m{"type": "layers", "diff_ids": []string{"blake3:" + strings.Repeat("0", 64)}}}), "Format", "neither sha256"},
		{"root filesystem of another type", withConfig(m{"os": "linux", "rootfs": m{"type": "layers+base", "diff_ids": diffIDs}}), "Unsupported", "layers+base"},
		{"too many layers", with("layers", slices.Repeat([]ocispec.Descriptor{layer}, 4097)), "Limit", "Layers"},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			data, ok := tt.doc.(raw)
			if !ok {
				data = raw(mustJSON(t, tt.doc))
			}
			b.index(b.put(ocispec.MediaTypeImageManifest, []byte(data)))
			_, err := b.resolve(client(t, &pull.Client{}))
			assertKind(t, err, tt.kind, tt.text)
		})
	}
	b.index(b.putJSON(ocispec.MediaTypeImageManifest, good()))
	if _, err := b.resolve(client(t, &pull.Client{})); err != nil {
		t.Errorf("the unchanged manifest: %v", err)
	}
	_, err := client(t, &pull.Client{}).Resolve(t.Context(), b.ref("@"+config.Digest.String()), pull.Platform{})
	assertKind(t, err, "Format", "an image's config, which the image's ID names")
}

type raw []byte

func assertKind(t *testing.T, err error, kind, text string) {
	t.Helper()
	var fe *pull.FormatError
	var ue *pull.UnsupportedError
	var le *pull.LimitError
	ok := map[string]bool{"Format": errors.As(err, &fe), "Unsupported": errors.As(err, &ue), "Limit": errors.As(err, &le)}
	if !ok[kind] || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want a %sError about %q", err, kind, text)
	}
}

// An index is not taken for a manifest, nor the other way round.
func TestResolveConfusion(t *testing.T) {
	b := newBlobs(t)
	d := b.image(amd64())
	index := b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{withPlatform(d, amd64())}})
	d.MediaType, index.MediaType = ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest
	for _, e := range []ocispec.Descriptor{d, index} {
		b.index(e)
		_, err := b.resolve(client(t, &pull.Client{}))
		assertKind(t, err, "Format", "announced as")
	}
}

// Documents without media types, and with generic ones, are read for what
// they are.
func TestResolveLenient(t *testing.T) {
	b := newBlobs(t)
	l := gzipLayer(t, words(500, 1))
	config := b.putJSON(ocispec.MediaTypeImageConfig, configFor(amd64(), l))
	layer := b.put(ocispec.MediaTypeImageLayerGzip, l.packed)
	config.MediaType, layer.MediaType = "application/octet-stream", ""
	manifest := b.putJSON("", map[string]any{"schemaVersion": 2, "config": config, "layers": []ocispec.Descriptor{layer}})
	b.index(manifest)
	img := b.mustResolve(&pull.Client{})
	if _, err := readLayer(t, img.Layers[0], pull.OpenOptions{}); err != nil {
		t.Error(err)
	}
	if img.Manifest.Descriptor.MediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("media type %q", img.Manifest.Descriptor.MediaType)
	}
	b.index(b.image(amd64())) // no layers at all
	if img := b.mustResolve(&pull.Client{}); len(img.Layers) != 0 {
		t.Errorf("%d layers, want none", len(img.Layers))
	}
}

// What is no image has documents, verified like an image's.
func TestDocuments(t *testing.T) {
	b := newBlobs(t)
	config := b.put("application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"demo"}`))
	chart := b.putJSON(ocispec.MediaTypeImageManifest, map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config,
		"layers": []ocispec.Descriptor{b.put("application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("chart"))},
	})
	b.index(chart)
	_, err := b.resolve(client(t, &pull.Client{}))
	assertKind(t, err, "Unsupported", "Helm")
	c := client(t, &pull.Client{})
	img, err := c.Documents(t.Context(), b.ref(""), pull.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	if got := img.Manifest.Descriptor.Digest; got != chart.Digest {
		t.Errorf("manifest %s, expected %s", got, chart.Digest)
	}
	if got := string(img.Config.Raw); got != `{"name":"demo"}` || img.Index != nil || len(img.Layers) != 0 {
		t.Errorf("config %s, index %v, layers %v", got, img.Index, img.Layers)
	}
	b.overwrite(config.Digest, flip(3))
	var wrong *pull.DigestError
	if _, err := c.Documents(t.Context(), b.ref(""), pull.Platform{}); !errors.As(err, &wrong) || wrong.Want != config.Digest {
		t.Errorf("damaged config: %v", err)
	}
}

// observer collects events.
type observer struct {
	mu     sync.Mutex
	events []pull.Event
}

func (o *observer) observe(e pull.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
}

func (o *observer) messages(kind pull.EventKind) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []string
	for _, e := range o.events {
		if e.Kind == kind {
			list = append(list, e.Message)
		}
	}
	return list
}

func TestResolveWarnings(t *testing.T) {
	b := newBlobs(t)
	config := configFor(platform("linux/s390x"))
	config.History = []ocispec.History{{}, {EmptyLayer: true}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	m.Config = b.putJSON(ocispec.MediaTypeImageConfig, config)
	b.index(b.putJSON(ocispec.MediaTypeImageManifest, m))
	var o observer
	c := client(t, &pull.Client{Observe: o.observe})
	if _, err := c.Resolve(t.Context(), b.ref(""), pull.Platform{}); err != nil {
		t.Fatal(err)
	}
	warnings := strings.Join(o.messages(pull.EventWarning), "\n")
	for _, want := range []string{"history speaks of 1 layers, and there are 0", "for linux/s390x, not for linux/" + runtime.GOARCH} {
		if !strings.Contains(warnings, want) {
			t.Errorf("warnings %q lack %q", warnings, want)
		}
	}

	// Asked for by name, another platform is no answer.
	_, err := c.Resolve(t.Context(), b.ref(""), amd64())
	var pe *pull.PlatformError
	if !errors.As(err, &pe) || !slices.Equal(pe.Have, []string{"linux/s390x"}) {
		t.Errorf("error %v, want a PlatformError", err)
	}
	// But what an index says of its entry counts more than the config.
	b.index(b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		Manifests: []ocispec.Descriptor{withPlatform(b.putJSON(ocispec.MediaTypeImageManifest, m), amd64())},
	}))
	if _, err := c.Resolve(t.Context(), b.ref(""), amd64()); err != nil {
		t.Error(err)
	}
}

// store answers for blobs as a local store does.
type store map[digest.Digest][]byte

func (s store) Blob(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	data, ok := s[d.Digest]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func TestLocalBlobs(t *testing.T) {
	b := newBlobs(t)
	l := gzipLayer(t, words(800_000, 1))
	manifest := withPlatform(b.image(amd64(), l), amd64())
	b.index(b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{manifest}}))
	img := b.mustResolve(&pull.Client{})
	docs := []pull.Document{img.Manifest, img.Config}
	local := store{img.Layers[0].Descriptor.Digest: l.packed}
	for _, d := range docs {
		local[d.Descriptor.Digest] = d.Raw
		if err := os.Remove(b.path(d.Descriptor.Digest)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(b.path(img.Layers[0].Descriptor.Digest)); err != nil {
		t.Fatal(err)
	}

	got := b.mustResolve(&pull.Client{Local: local})
	if diff := cmp.Diff(img.Manifest, got.Manifest); diff != "" {
		t.Error(diff)
	}
	if data, err := readLayer(t, got.Layers[0], pull.OpenOptions{}); err != nil || !bytes.Equal(data, l.tar) {
		t.Errorf("layer: %d bytes, %v", len(data), err)
	}
}

func TestLocalBlobsDamaged(t *testing.T) {
	b := newBlobs(t)
	l := gzipLayer(t, words(800_000, 1))
	manifest := withPlatform(b.image(amd64(), l), amd64())
	b.index(b.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{manifest}}))
	img := b.mustResolve(&pull.Client{})
	var o observer
	local := store{
		manifest.Digest:                 flip(5)(img.Manifest.Raw),
		img.Config.Descriptor.Digest:    cut(3)(img.Config.Raw),
		img.Layers[0].Descriptor.Digest: flip(1000)(l.packed),
	}
	got := b.mustResolve(&pull.Client{Local: local, Observe: o.observe})
	if n := len(o.messages(pull.EventWarning)); n != 2 {
		t.Errorf("%d warnings, want one for manifest and config each: %q", n, o.messages(pull.EventWarning))
	}
	_, err := readLayer(t, got.Layers[0], pull.OpenOptions{})
	var de *pull.DigestError
	if !errors.As(err, &de) || !strings.HasSuffix(de.Object, "the local copy") || de.Want != got.Layers[0].Descriptor.Digest {
		t.Errorf("error %v, want a DigestError about the local copy", err)
	}
	if n := len(o.messages(pull.EventWarning)); n != 3 {
		t.Errorf("%d warnings, want one more for the layer", n)
	}
	if data, err := readLayer(t, got.Layers[0], pull.OpenOptions{}); err != nil || !bytes.Equal(data, l.tar) {
		t.Errorf("Open again: %d bytes, %v; want them from the source", len(data), err)
	}
}

// Content inside the descriptor is used if it is right, and else fetched.
func TestInlineData(t *testing.T) {
	for _, inline := range []bool{true, false} {
		b := newBlobs(t)
		l := gzipLayer(t, words(500, 1))
		data := l.packed
		layer := b.put(ocispec.MediaTypeImageLayerGzip, l.packed)
		config := b.putJSON(ocispec.MediaTypeImageConfig, configFor(amd64(), l))
		config.Data = mustJSON(t, configFor(amd64(), l))
		if inline {
			for _, d := range []ocispec.Descriptor{layer, config} {
				if err := os.Remove(b.path(d.Digest)); err != nil {
					t.Fatal(err)
				}
			}
		} else {
			data, config.Data = flip(9)(data), []byte("{}")
		}
		layer.Data = data
		m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer}}
		b.index(b.putJSON(ocispec.MediaTypeImageManifest, m))
		got, err := readLayer(t, b.mustResolve(&pull.Client{}).Layers[0], pull.OpenOptions{})
		if err != nil || !bytes.Equal(got, l.tar) {
			t.Errorf("inline %v: %d bytes, %v", inline, len(got), err)
		}
	}
}
