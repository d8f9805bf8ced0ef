package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func bundleCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "bundle",
		Usage:     "write an OCI runtime bundle",
		UsageText: "byhand bundle [OPTIONS] IMAGE DIR [-- ARGS…]",
		Description: "Writes config.json and the root file system of the image into DIR, which runc run\n" +
			"--bundle DIR starts. An image that the store has is not asked for again.\n\n" +
			"   byhand bundle --env DEBUG=1 alpine ./alpine -- /bin/echo hello",
		Flags:  slices.Concat([]cli.Flag{keepBlobsFlag()}, rootfsFlags(), containerFlags()),
		Action: action(std, operands{min: 2, max: 2, rest: true}, checked(namedRuntime(inNamespace(withStore(doBundle))))),
	}
}

func pullAndUnpackCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "pull-and-unpack",
		Usage:     "pull, unpack and bundle in one streaming pass",
		UsageText: "byhand pull-and-unpack [OPTIONS] IMAGE DIR [-- ARGS…]",
		Description: "Reads each layer from the network once: checked, decompressed, checked and unpacked\n" +
			"on the way. Layers that the store has are not fetched. As root it leaves DIR/rootfs\n" +
			"mounted, so that runc starts DIR at once.\n\n" +
			"   byhand pull-and-unpack alpine ./alpine && runc run --bundle ./alpine demo",
		Flags:  slices.Concat([]cli.Flag{keepBlobsFlag()}, rootfsFlags(), containerFlags()),
		Action: action(std, operands{min: 2, max: 2, rest: true}, checked(namedRuntime(inNamespace(withStore(doPullAndUnpack))))),
	}
}

// checked refuses options that no image could make right, before anything
// else is done or said.
func checked(h handler) handler {
	return func(ctx context.Context, c *call) error {
		if _, err := c.rootfs(""); err != nil {
			return err
		}
		if _, err := c.bundleOptions(); err != nil {
			return err
		}
		return h(ctx, c)
	}
}

// namedRuntime is withRuntime where one is named, to start the bundle later.
func namedRuntime(h handler) handler {
	return func(ctx context.Context, c *call) error {
		if c.flags.IsSet("runtime") {
			return withRuntime(h)(ctx, c)
		}
		return h(ctx, c)
	}
}

func doBundle(ctx context.Context, s *session) error { return s.makeBundle(ctx, s.findWhole) }

func doPullAndUnpack(ctx context.Context, s *session) error { return s.makeBundle(ctx, s.resolve) }

func (s *session) makeBundle(ctx context.Context, find finder) (err error) {
	dir := s.args[1]
	plan, err := s.planBundle(dir)
	if err != nil {
		return err
	}
	if err := plan.free(); err != nil {
		return err
	}
	checked := func(ctx context.Context, arg string) (*pull.Image, error) {
		img, err := find(ctx, arg)
		if err == nil {
			err = checkImage(img, plan.options)
		}
		return img, err
	}
	img, layers, err := s.unpacked(ctx, s.args[0], checked)
	if err != nil {
		return err
	}
	if err := plan.write(ctx, img, layers); err != nil {
		return err
	}
	return s.printResult(img, dir, layers, dir)
}

// checkImage refuses, before a layer is fetched, an image of which no bundle can
// be made.
func checkImage(img *pull.Image, o bundle.Options) error {
	return forImage(img, bundle.Check(img.Config.Raw, o))
}

// forImage names the image in what keeps it from being a container. An option
// that is wrong is so for every image.
func forImage(img *pull.Image, err error) error {
	if err == nil || isAny[*bundle.OptionError](err) {
		return err
	}
	return fmt.Errorf("make config.json for %s: %w", img.Reference, err)
}

// bundleOptions turns the flags into what config.json is made with, and
// refuses what no image could make right.
func (c *call) bundleOptions() (bundle.Options, error) {
	f := c.flags
	o := bundle.Options{
		Args:              c.rest,
		Env:               fromEnvironment(f.StringSlice("env")),
		User:              f.String("user"),
		Workdir:           f.String("workdir"),
		Hostname:          f.String("hostname"),
		Domainname:        f.String("domainname"),
		Terminal:          f.Bool("tty"),
		ReadOnly:          f.Bool("read-only"),
		CapAdd:            f.StringSlice("cap-add"),
		CapDrop:           f.StringSlice("cap-drop"),
		Privileged:        f.Bool("privileged"),
		NoNewPrivileges:   f.Bool("no-new-privileges"),
		Network:           f.String("network"),
		Volumes:           f.StringSlice("volume"),
		KeepRuntimeLabels: f.Bool("keep-runtime-labels"),
	}
	if f.IsSet("entrypoint") {
		entrypoint := []string{}
		if e := f.String("entrypoint"); e != "" {
			entrypoint = []string{e}
		}
		o.Entrypoint = &entrypoint
	}
	return o, bundle.CheckOptions(o)
}

// fromEnvironment gives an entry without "=" the value it has here, as
// docker run does; one that has none here is left for the bundle to unset.
func fromEnvironment(env []string) []string {
	out := make([]string, 0, len(env))
	for _, e := range env {
		if !strings.Contains(e, "=") {
			if v, ok := os.LookupEnv(e); ok {
				e += "=" + v
			}
		}
		out = append(out, e)
	}
	return out
}

// chains are the layers' chain IDs.
func chains(layers []overlay.Layer) []overlay.ChainID {
	ids := make([]overlay.ChainID, len(layers))
	for i, l := range layers {
		ids[i] = l.ChainID
	}
	return ids
}
