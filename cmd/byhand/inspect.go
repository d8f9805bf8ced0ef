package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

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
		UsageText: "byhand inspect [--remote | --raw [--config]] IMAGE",
		Description: "Prints what docker image inspect prints. An image that the store lacks is looked\n" +
			"up at its source, without its layers. --remote always asks the source, and prints\n" +
			"what skopeo inspect prints.\n\n   byhand inspect alpine | jq '.[0].Config.Cmd'",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "remote", Usage: "ask the registry, and print what skopeo inspect prints"},
			&cli.BoolFlag{Name: "raw", Usage: "print the manifest's exact bytes"},
			&cli.BoolFlag{Name: "config", Usage: "with --raw, print the config's exact bytes"},
		},
		Action: action(std, operands{min: 1, max: 1}, withStore(doInspect)),
	}
}

func doInspect(ctx context.Context, s *session) error {
	if s.flags.Bool("config") && !s.flags.Bool("raw") {
		return usagef("inspect: --config goes with --raw")
	}
	find := s.find
	if s.flags.Bool("remote") {
		find = s.resolve
	}
	img, err := find(ctx, s.args[0])
	if err != nil {
		return err
	}
	switch {
	case s.flags.Bool("raw") && s.flags.Bool("config"):
		return s.write(img.Config.Raw)
	case s.flags.Bool("raw"):
		return s.write(img.Manifest.Raw)
	case s.flags.Bool("remote"):
		return s.inspectRemote(ctx, img)
	}
	info, err := s.inspectLocal(ctx, img)
	if err != nil {
		return err
	}
	return s.printJSON([]*imageInfo{info})
}

func (c *call) write(raw []byte) error {
	if _, err := c.std.out.Write(raw); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

// imageInfo has the keys of docker image inspect.
type imageInfo struct {
	ID           string `json:"Id"`
	RepoTags     []string
	RepoDigests  []string
	Created      string `json:",omitempty"`
	Author       string `json:",omitempty"`
	Config       json.RawMessage
	Architecture string
	Variant      string `json:",omitempty"`
	OS           string `json:"Os"`
	OSVersion    string `json:"OsVersion,omitempty"`
	Size         int64
	GraphDriver  graphDriver
	RootFS       rootFS
	Metadata     imageMetadata
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

type imageMetadata struct{ LastTagTime string }

func (s *session) inspectLocal(ctx context.Context, img *pull.Image) (*imageInfo, error) {
	info := &imageInfo{
		ID:          img.Config.Descriptor.Digest.String(),
		RepoTags:    []string{},
		RepoDigests: []string{},
		Config:      json.RawMessage("null"),
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
	if err != nil {
		return info, nil //nolint:nilerr // an image that is not unpacked has no directories to tell of
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
	}
	if err := json.Unmarshal(img.Config.Raw, &c); err != nil {
		return fmt.Errorf("read config of %s: %w", img.Reference, err)
	}
	if json.Unmarshal(c.Created, &i.Created) != nil {
		i.Created = ""
	}
	if c.Config != nil {
		i.Config = c.Config
	}
	i.Author, i.Architecture, i.Variant = img.Spec.Author, img.Spec.Architecture, img.Spec.Variant
	i.OS, i.OSVersion = img.Spec.OS, img.Spec.OSVersion
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
		info.RepoDigests = append(info.RepoDigests, repository+"@"+d.String())
		if rec.Added.After(tagTime(info)) {
			info.Metadata.LastTagTime = rec.Added.Format(time.RFC3339Nano)
		}
	}
	return nil
}

func tagTime(info *imageInfo) time.Time {
	t, err := time.Parse(time.RFC3339Nano, info.Metadata.LastTagTime)
	if err != nil {
		return time.Time{}
	}
	return t
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
	OS            string `json:"Os"`
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

func (s *session) inspectRemote(ctx context.Context, img *pull.Image) error {
	info := remoteInfo{
		Digest: img.Manifest.Descriptor.Digest, RepoTags: []string{}, Created: img.Spec.Created,
		Labels: img.Spec.Config.Labels, Architecture: img.Spec.Architecture, OS: img.Spec.OS,
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
			info.RepoTags = tags
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
	return s.printJSON(info)
}

func dataOf(d ocispec.Descriptor) layerData {
	return layerData{MIMEType: d.MediaType, Digest: d.Digest, Size: d.Size, Annotations: d.Annotations}
}
