package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/ociruntime"
	"github.com/byhand/byhand/internal/userns"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func runCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a container and leave nothing behind",
		UsageText: "byhand run [OPTIONS] IMAGE|DIR [-- ARGS…]",
		Description: "Makes a bundle, mounts its overlay where nobody else sees it, starts the OCI runtime,\n" +
			"passes signals and the exit code through, and removes everything. A DIR is a bundle;\n" +
			"of the options for the container only --entrypoint is for it, the others are in its\n" +
			"config.json.\n\n   byhand run --tty alpine -- sh",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "runtime", Usage: "start `PROGRAM`, a name or a path", DefaultText: "runc, else crun"},
			rootfsFlag("overlay"),
			&cli.BoolFlag{Name: "no-mount", Usage: "do without an overlay mount, as --rootfs flat does"},
			&cli.BoolFlag{Name: "rootless", Usage: "run in a user namespace (an ordinary user's container always does)"},
			keepBlobsFlag(),
		}, containerFlags()),
		Action: action(std, operands{min: 1, max: 1, rest: true}, asDocker(doRun)),
	}
}

// asDocker turns every failure of ours but a wrong command line into exit
// code 125, so that the container's own codes can be told from it.
func asDocker(h handler) handler {
	return func(ctx context.Context, c *call) error {
		err := h(ctx, c)
		if err == nil || isAny[*silentError](err) || exitCode(err) == exitUsage {
			return err
		}
		if ctx.Err() != nil {
			return err
		}
		if s, ok := errors.AsType[*ociruntime.StartError](err); ok {
			return &codedError{err, s.Code}
		}
		return &codedError{err, ociruntime.CodeFailed}
	}
}

func doRun(ctx context.Context, c *call) error {
	if !isBundle(c.args[0]) {
		return checked(withRuntime(inNamespaceToRun(withStore(runImage))))(ctx, c)
	}
	return withRuntime(doRunBundle)(ctx, c)
}

// withRuntime looks for the runtime first: without one, all else is for
// nothing.
func withRuntime(h handler) handler {
	return func(ctx context.Context, c *call) error {
		if _, err := ociruntime.Find(c.flags.String("runtime")); err != nil {
			return err
		}
		return h(ctx, c)
	}
}

func runImage(ctx context.Context, s *session) (err error) {
	options, err := s.runOptions()
	if err != nil {
		return err
	}
	rootfs, err := s.runRootfs()
	if err != nil {
		return err
	}
	checked := func(ctx context.Context, arg string) (*pull.Image, error) {
		img, err := s.findWhole(ctx, arg)
		if err == nil {
			err = checkImage(img, options)
		}
		return img, err
	}
	img, layers, err := s.unpacked(ctx, s.args[0], checked)
	if err != nil {
		return err
	}
	tmp, err := newScratch(filepath.Join(s.store.Dir(), runsDir))
	if err != nil {
		return err
	}
	options.Name = filepath.Base(tmp.dir)
	plan := &bundlePlan{session: s, dir: filepath.Join(tmp.dir, "bundle"), rootfs: rootfs, options: options, scratch: true}
	defer func() { err = errors.Join(err, s.remove(tmp), s.store.Release(plan.dir)) }()
	if err := plan.write(ctx, img, layers); err != nil {
		return err
	}
	s.endProgress()
	err = s.startWith(ctx, start{config: plan.dir, bundle: plan.dir, mount: plan.rootfs == bundle.RootFSOverlay, scratch: true})
	if e, ok := errors.AsType[*ociruntime.StartError](err); ok && e.Op == ociruntime.OpPrepare {
		err = fmt.Errorf("%w; --rootfs flat needs no mount", err)
	}
	return err
}

// runRootfs is an overlay, but where that is not wanted. A run has no later
// moment for the mount, so --no-mount asks for plain files.
func (c *call) runRootfs() (string, error) {
	if !c.flags.Bool("no-mount") {
		return c.rootfs(bundle.RootFSOverlay)
	}
	rootfs, err := c.rootfs(bundle.RootFSFlat)
	if err == nil && rootfs == bundle.RootFSOverlay {
		err = usagef("run: --no-mount and --rootfs overlay: a run mounts its overlay, or has plain files")
	}
	return rootfs, err
}

// remove takes a scratch directory away.
func (c *call) remove(tmp *scratch) error {
	err := tmp.remove()
	if err == nil {
		c.explain.Removed(tmp.dir)
	}
	return err
}

// runOptions are bundleOptions for a runtime that this process starts.
func (s *session) runOptions() (bundle.Options, error) {
	options, err := s.bundleOptions()
	if err != nil {
		return options, err
	}
	status, err := userns.Inspect()
	if err != nil {
		return options, err
	}
	options.InUserNamespace = status.Kind != userns.HostRoot
	options.Rootless = s.flags.Bool("rootless")
	if options.InUserNamespace || options.Rootless {
		options.UIDMappings, options.GIDMappings = callerMappings()
	}
	return options, nil
}

// mountRequest is what the supervisor is asked to prepare.
type mountRequest struct{ Bundle string }

// start is what a run starts.
type start struct {
	config  string // directory with the config.json
	bundle  string // the bundle, whose overlay is mounted if mount says so
	mount   bool
	scratch bool // config is removed at the end
}

// startWith starts the runtime.
func (c *call) startWith(ctx context.Context, st start) error {
	o := ociruntime.Options{
		Runtime: c.flags.String("runtime"), Bundle: st.config,
		Stdin: c.std.in, Stdout: c.std.out, Stderr: c.std.err,
		Observe: func(p ociruntime.Plan) { c.explain.Run(p, st.scratch) },
	}
	if st.mount {
		o.Prepare = mountRequest{Bundle: st.bundle}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.explainMount(st); err != nil {
		return err
	}
	// From here signals go to the container, which decides what comes of them.
	code, err := ociruntime.Run(context.WithoutCancel(ctx), o)
	if err != nil {
		return err
	}
	c.explain.Ended(code)
	if code != 0 {
		return &silentError{code}
	}
	return nil
}

// inner makes this process the part of a run that lives in the private
// namespaces, or the command inside a user namespace, if it was started as
// one; then it does not return.
func inner(argv []string) {
	if code, ok := userns.Child(argv); ok {
		os.Exit(code)
	}
	if code, ok := ociruntime.Inner(argv, mountBundle); ok {
		os.Exit(code)
	}
}

func mountBundle(_ context.Context, request json.RawMessage) error {
	var r mountRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return fmt.Errorf("read mount request: %w", err)
	}
	if r.Bundle == "" {
		return nil
	}
	o, err := overlay.BundleMount(r.Bundle)
	if err != nil {
		return err
	}
	return overlay.Mount(o)
}
