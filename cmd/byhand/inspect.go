package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func inspectCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show what an image is, as JSON",
		UsageText: "byhand inspect [--remote | --raw] [--config | --index] IMAGE…",
		Description: "Prints what docker image inspect prints. An image that the store lacks is looked\n" +
			"up at its source, without its layers. --remote always asks the source, and prints\n" +
			"what skopeo inspect prints.\n\n   byhand inspect alpine | jq '.[0].Config.Cmd'\n" +
			"   byhand inspect --format '{{join .Config.Cmd \" \"}}' alpine",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "remote", Usage: "ask the registry, and print what skopeo inspect prints"},
			&cli.BoolFlag{Name: "raw", Usage: "print the manifest's exact bytes"},
			&cli.BoolFlag{Name: "config", Usage: "with --raw, print the config's exact bytes"},
			&cli.BoolFlag{Name: "index", Usage: "with --raw, print the exact bytes of the index that the name means"},
			formatFlag(),
		},
		Action: action(std, operands{min: 1, max: -1}, withStore(doInspect)),
	}
}

func doInspect(ctx context.Context, s *session) error {
	f, err := s.inspectFormat()
	if err != nil {
		return err
	}
	find := s.find
	if s.flags.Bool("remote") {
		find = s.resolve
	}
	var infos []any
	for _, arg := range s.args {
		img, err := find(ctx, arg)
		if isAny[*pull.UnsupportedError](err) && s.flags.Bool("raw") {
			img, err = s.documents(ctx, arg)
		}
		if err != nil {
			return err
		}
		if s.flags.Bool("raw") {
			return s.inspectRaw(img)
		}
		info, err := s.info(ctx, img)
		if err != nil {
			return err
		}
		infos = append(infos, info)
	}
	switch {
	case f != nil:
		return s.inspectBy(f, infos)
	case s.flags.Bool("remote") && len(infos) == 1:
		return s.printJSON(infos[0])
	}
	return s.printJSON(infos)
}

// documents finds what is no image, and so in no store.
func (s *session) documents(ctx context.Context, arg string) (*pull.Image, error) {
	ref, err := s.parse(arg)
	if err != nil {
		return nil, err
	}
	return s.client.Documents(ctx, ref, s.platform)
}

// inspectFormat parses --format, and refuses options that do not go together.
func (s *session) inspectFormat() (*format, error) {
	raw, config, index := s.flags.Bool("raw"), s.flags.Bool("config"), s.flags.Bool("index")
	switch {
	case config && !raw:
		return nil, usagef("inspect: --config goes with --raw")
	case index && !raw:
		return nil, usagef("inspect: --index goes with --raw")
	case index && config:
		return nil, usagef("inspect: --config and --index: give one of them")
	case raw && len(s.args) > 1:
		return nil, usagef("inspect: --raw takes one image")
	case raw && s.flags.IsSet("format"):
		return nil, usagef("inspect: --raw and --format: give one of them")
	}
	f, err := newFormat(s.flags.String("format"))
	if err == nil && f != nil && f.table {
		return nil, usagef("inspect: --format: an image is no table; leave out the word table")
	}
	return f, err
}

func (s *session) inspectRaw(img *pull.Image) error {
	switch {
	case s.flags.Bool("config"):
		return s.write(img.Config.Raw)
	case !s.flags.Bool("index"):
		return s.write(img.Manifest.Raw)
	case img.Index == nil:
		return &codedError{fmt.Errorf("inspect %s: it names a manifest, and no index", img.Reference), exitNotFound}
	}
	return s.write(img.Index.Raw)
}

// info is what is told about an image.
func (s *session) info(ctx context.Context, img *pull.Image) (any, error) {
	if s.flags.Bool("remote") {
		return s.inspectRemote(ctx, img), nil
	}
	return s.inspectLocal(ctx, img)
}

// inspectBy prints a line for each image. As with docker, a template may use
// the names of Docker's own fields, where all are there, and those of the JSON.
func (s *session) inspectBy(f *format, infos []any) error {
	var lines []string
	for _, info := range infos {
		line, err := f.executeTyped(info)
		if err != nil {
			var raw any
			if raw, err = plainJSON(info); err != nil {
				return err
			}
			line, err = f.execute(raw)
		}
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	return s.println(s.shown(strings.Join(lines, "\n")))
}

// shown is text of an image as the reader of standard output wants it: as it
// is for a program, and for a person without what a terminal would act on.
func (c *call) shown(text string) string {
	if c.terminalWidth() == 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}

// plainJSON returns v as its JSON reads, numbers as they are written.
func plainJSON(v any) (plain any, err error) {
	text, err := toJSON(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	return plain, dec.Decode(&plain)
}

func (c *call) write(raw []byte) error {
	if _, err := c.std.out.Write(raw); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

// imageInfo has the keys of docker image inspect.
type imageInfo struct {
	ID            string `json:"Id"`
	RepoTags      []string
	RepoDigests   []string
	Parent        string // always empty, as for every image that was pulled
	Comment       string
	Created       string `json:",omitempty"`
	DockerVersion string
	Author        string
	Config        imageConfig
	Architecture  string
	Variant       string `json:",omitempty"`
	Os            string
	OsVersion     string `json:",omitempty"`
	Size          int64
	GraphDriver   graphDriver
	RootFS        rootFS
	Metadata      imageMetadata
}

// imageConfig has the fields of a config for templates. As JSON it is what the
// image's config says, fields that nobody here knows included.
type imageConfig struct {
	ocispec.ImageConfig
	Healthcheck *healthcheck
	OnBuild     []string
	Shell       []string

	raw json.RawMessage
}

// healthcheck is Docker's extension of the config.
type healthcheck struct {
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// MarshalJSON returns the config as the image has it.
func (c imageConfig) MarshalJSON() ([]byte, error) {
	if c.raw == nil {
		return []byte("null"), nil
	}
	return c.raw, nil
}

type graphDriver struct {
	Name string
	Data *overlayDirs
}

// overlayDirs are the directories of an overlay of the image: what Docker
// tells of its own. Without layers in the store there are none.
type overlayDirs struct {
	LowerDir  string `json:",omitempty"`
	MergedDir string
	UpperDir  string
	WorkDir   string
}

type rootFS struct {
	Type   string
	Layers []digest.Digest
}

type imageMetadata struct{ LastTagTime time.Time }

func (s *session) inspectLocal(ctx context.Context, img *pull.Image) (*imageInfo, error) {
	info := &imageInfo{
		ID:          img.Config.Descriptor.Digest.String(),
		RepoTags:    []string{},
		RepoDigests: []string{},
		Size:        sum(img),
		GraphDriver: graphDriver{Name: "overlay2"},
		RootFS:      rootFS{Type: "layers", Layers: diffIDs(img)},
	}
	if err := info.fromConfig(img); err != nil {
		return nil, err
	}
	if err := s.names(ctx, info, img); err != nil {
		return nil, err
	}
	layers, err := s.store.Layers(diffIDs(img))
	if err != nil || len(layers) == 0 {
		return info, nil // an image that is not unpacked has no directories to tell of
	}
	info.Size = 0
	for _, l := range layers {
		info.Size += l.Bytes
	}
	info.GraphDriver.Data = overlayData(layers)
	return info, nil
}

// fromConfig fills in what the image config says, times as it writes them.
func (i *imageInfo) fromConfig(img *pull.Image) error {
	var c struct {
		Created json.RawMessage `json:"created"`
		Config  json.RawMessage `json:"config"`
		Comment string          `json:"comment"`
		Docker  string          `json:"docker_version"`
	}
	if err := json.Unmarshal(img.Config.Raw, &c); err != nil {
		return fmt.Errorf("read config of %s: %w", img.Reference, err)
	}
	if json.Unmarshal(c.Created, &i.Created) != nil {
		i.Created = ""
	}
	// What of it is not as Docker has it is there as JSON still.
	if c.Config == nil || json.Unmarshal(c.Config, &i.Config) != nil {
		i.Config = imageConfig{ImageConfig: img.Spec.Config}
	}
	i.Config.raw = c.Config
	i.Comment, i.DockerVersion = c.Comment, c.Docker
	if n := len(img.Spec.History); n > 0 && i.Comment == "" {
		i.Comment = img.Spec.History[n-1].Comment // so does docker
	}
	i.Author, i.Architecture, i.Variant = img.Spec.Author, img.Spec.Architecture, img.Spec.Variant
	i.Os, i.OsVersion = img.Spec.OS, img.Spec.OSVersion
	return nil
}

// names finds all names that the store has for this manifest.
func (s *session) names(ctx context.Context, info *imageInfo, img *pull.Image) error {
	images, err := s.store.Images(ctx)
	if err != nil {
		return err
	}
	for _, rec := range images {
		if rec.Manifest.Digest != img.Manifest.Descriptor.Digest {
			continue
		}
		repository, byTag := repositoryOf(rec.Name)
		if byTag {
			info.RepoTags = append(info.RepoTags, rec.Name)
		}
		d := rec.Manifest.Digest
		if rec.IndexDigest != "" {
			d = rec.IndexDigest
		}
		if name := repository + "@" + d.String(); !slices.Contains(info.RepoDigests, name) {
			info.RepoDigests = append(info.RepoDigests, name)
		}
		if rec.Added.After(info.Metadata.LastTagTime) {
			info.Metadata.LastTagTime = rec.Added
		}
	}
	return nil
}

// repositoryOf cuts tag and digest off a full image name, and says whether
// it had a tag alone.
func repositoryOf(name string) (repository string, byTag bool) {
	repository, _, digested := strings.Cut(name, "@")
	if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
		return repository[:i], !digested
	}
	return repository, false
}

func overlayData(layers []overlay.Layer) *overlayDirs {
	top := layers[len(layers)-1]
	var lower []string
	for i := len(layers) - 2; i >= 0; i-- {
		lower = append(lower, layers[i].Dir)
	}
	base := strings.TrimSuffix(top.Dir, "/diff")
	return &overlayDirs{
		LowerDir: strings.Join(lower, ":"), UpperDir: top.Dir,
		MergedDir: base + "/merged", WorkDir: base + "/work",
	}
}

// remoteInfo has the keys of skopeo inspect.
type remoteInfo struct {
	Name          string `json:",omitempty"`
	Tag           string `json:",omitempty"`
	Digest        digest.Digest
	RepoTags      []string
	Created       *time.Time
	DockerVersion string
	Labels        map[string]string
	Architecture  string
	Os            string
	Layers        []digest.Digest
	LayersData    []layerData
	Env           []string
}

type layerData struct {
	MIMEType    string
	Digest      digest.Digest
	Size        int64
	Annotations map[string]string
}

func (s *session) inspectRemote(ctx context.Context, img *pull.Image) *remoteInfo {
	info := &remoteInfo{
		Digest: img.Manifest.Descriptor.Digest, RepoTags: []string{}, Created: img.Spec.Created,
		Labels: img.Spec.Config.Labels, Architecture: img.Spec.Architecture, Os: img.Spec.OS,
		Layers: []digest.Digest{}, LayersData: []layerData{}, Env: img.Spec.Config.Env,
	}
	if img.Index != nil {
		info.Digest = img.Index.Descriptor.Digest // what the name means, for every platform
	}
	if img.Reference.Transport == pull.Registry {
		info.Name = img.Reference.Host + "/" + img.Reference.Repository
		tags, err := s.client.Tags(ctx, img.Reference)
		if err != nil {
			s.warn(fmt.Sprintf("list tags of %s: %v", info.Name, err))
		} else {
			info.RepoTags = append(info.RepoTags, tags...)
		}
	}
	var docker struct {
		Version string `json:"docker_version"`
	}
	if json.Unmarshal(img.Config.Raw, &docker) == nil {
		info.DockerVersion = docker.Version
	}
	for _, l := range img.Layers {
		info.Layers = append(info.Layers, l.Descriptor.Digest)
		info.LayersData = append(info.LayersData, dataOf(l.Descriptor))
	}
	return info
}

func dataOf(d ocispec.Descriptor) layerData {
	return layerData{MIMEType: d.MediaType, Digest: d.Digest, Size: d.Size, Annotations: d.Annotations}
}
