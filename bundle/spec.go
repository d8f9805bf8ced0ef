package bundle

import (
	"io/fs"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Spec computes config.json for the image with the raw config, whose merged
// tree is root.
//
// Root is foreign and may hold any link or device. Spec asks an [fs.ReadLinkFS]
// only for paths that lead through no link, so that even [os.DirFS] serves for
// a tree that nobody changes meanwhile; [OpenRoot] serves for every directory.
// A file system that is no ReadLinkFS has to resolve links inside itself. A nil
// root is an empty one.
//
// Errors are [*ConfigError], [*PlatformError], [*UserError], [*RootError],
// [*UnmappedError], [*OptionError], [*MountError] and [*CommandError].
func Spec(config []byte, root fs.FS, o Options) (Result, error) {
	d, err := newDraft(config, o)
	if err != nil {
		return Result{}, err
	}
	d.root = tree{root}
	d.from("ociVersion", "default: the oldest that has every field used here")
	d.from("root.path", "default")
	if o.ReadOnly {
		d.from("root.readonly", "--read-only")
	}
	for _, step := range d.steps() {
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	if err := d.run(rootChecks()); err != nil {
		return Result{}, err
	}
	return Result{Spec: d.spec, Volumes: d.volumes, Warnings: d.warnings, Origins: d.origins}, nil
}

// CheckOptions reports what Spec would refuse whatever the image is, so that a
// caller can learn it before looking for one. Errors are [*OptionError].
func CheckOptions(o Options) error {
	d := draft{o: o, host: o.Host}
	if d.host == nil {
		d.host = DetectHost()
	}
	return d.run(optionChecks())
}

// Check reports what Spec would refuse whatever the root filesystem holds, so
// that a caller need not fetch an image's layers to learn it.
func Check(config []byte, o Options) error {
	d, err := newDraft(config, o)
	if err != nil {
		return err
	}
	return d.process()
}

// draft is a spec in the making.
type draft struct {
	o     Options
	host  *Host
	image imageConfig
	root  tree
	id    identity
	spec  *specs.Spec

	volumes  []Volume
	warnings []string
	origins  []Origin
}

func newDraft(config []byte, o Options) (*draft, error) {
	image, err := parseConfig(config)
	if err != nil {
		return nil, err
	}
	d := &draft{o: o, host: o.Host, image: image, spec: &specs.Spec{
		Version: specVersion,
		Process: &specs.Process{},
		Root:    &specs.Root{Path: rootfsDir, Readonly: o.ReadOnly},
		Linux:   &specs.Linux{},
	}}
	if d.host == nil {
		d.host = DetectHost()
	}
	if err := d.run(optionChecks()); err != nil {
		return nil, err
	}
	return d, d.run(configChecks())
}

// steps lists what fills the spec. Capabilities depend on the user, and the
// seccomp filter on the capabilities.
func (d *draft) steps() []func() error {
	return []func() error{
		d.user, d.process, d.capabilities, d.names, d.mounts, d.annotations,
		d.namespaces, d.sysctls, d.devices, d.hidden, d.seccomp,
	}
}

func (d *draft) warn(text string) { d.warnings = append(d.warnings, text) }

func (d *draft) from(field, source string) {
	d.origins = append(d.origins, Origin{Field: field, From: source})
}
