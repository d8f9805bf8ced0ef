package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/internal/userns"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// inNamespace runs h where it may give files to other users: for an ordinary
// user that is a user namespace, made for the same command once
// more. Where that cannot be had, h does what one uid can do.
func inNamespace(h handler) handler { return enterNamespace(h, toUnpack) }

// inNamespaceToRun is inNamespace for commands that mount.
func inNamespaceToRun(h handler) handler { return enterNamespace(h, toRun) }

// inNamespaceQuietly is inNamespace for commands that give no file to
// anybody: they need not say to whom they could not.
func inNamespaceQuietly(h handler) handler { return enterNamespace(h, toLook) }

// purpose is what a namespace is entered for.
type purpose int

const (
	toLook   purpose = iota
	toUnpack         // and so to give files to their owners
	toRun            // and so to mount besides
)

func enterNamespace(h handler, why purpose) handler {
	return func(ctx context.Context, c *call) error {
		status, err := userns.Inspect()
		if err != nil {
			return err
		}
		if !status.NeedsEnter() {
			c.explainNamespace(status)
			return h(ctx, c)
		}
		// Signals reach the inner command by themselves; it has to end in its
		// own way, not by our killing it.
		plan, err := userns.MakePlan()
		if err != nil {
			return err
		}
		if why != toLook && plan.Shortfall != "" {
			c.say(fmt.Sprintf("warning: owners other than you cannot be kept: %s; to change that: %s", plan.Shortfall, plan.Remedy))
		}
		code, err := userns.Enter(context.WithoutCancel(ctx), userns.Options{Plan: &plan, Refused: func(err error) {
			if why != toLook {
				c.say(fmt.Sprintf("warning: owners other than you cannot be kept: %v", err))
			}
		}})
		if u, ok := errors.AsType[*userns.UnavailableError](err); ok {
			if why == toRun || !status.Owners { // root in a container lacks nothing but mounts
				c.say(fmt.Sprintf("warning: %v; going on without", u))
			}
			return h(ctx, c)
		}
		if err == nil && code != 0 {
			err = &silentError{code}
		}
		return err
	}
}

// say prints a line on standard error before there is a session.
func (c *call) say(line string) {
	switch {
	case c.quiet():
	case c.explain != nil:
		c.explain.Say("byhand: " + line)
	default:
		_, _ = fmt.Fprintln(c.std.err, "byhand: "+oneLine(line))
	}
}

// isRealRoot says whether this is root of the machine, not of a user
// namespace.
func isRealRoot() bool {
	status, err := userns.Inspect()
	return err == nil && status.Kind == userns.HostRoot
}

// mountsForAll says whether what this process mounts, or writes for overlayfs
// under trusted.*, is there for the whole machine: it is root with CAP_SYS_ADMIN,
// which root in a container usually lacks.
func mountsForAll(s userns.Status) bool { return s.Kind == userns.HostRoot && s.Mount }

// storeOptions follow from what this process may do.
func storeOptions(s *session) (overlay.Options, error) {
	o := overlay.Options{
		Limits:  s.limits.unpack,
		Sync:    s.flags.Bool("sync"),
		Observe: s.observeStore,
		Markers: s.explain != nil,
	}
	status, err := userns.Inspect()
	if err != nil {
		return o, err
	}
	o.UserXattr = !mountsForAll(status)
	if !status.Owners {
		o.Owners = unpack.Squash
	}
	return o, nil
}

// callerMappings are the id maps that a runtime started by the caller can make
// again, for files as this process gives them their owners. For root that is every
// ID as itself, which owns the files as root unpacked them.
func callerMappings() (uids, gids []specs.LinuxIDMapping) {
	status, err := userns.Inspect()
	if err != nil || status.Kind == userns.Unprivileged {
		return nil, nil // the caller's own ID alone
	}
	uids, gids, err = userns.ForCaller()
	if err != nil {
		return nil, nil
	}
	return uids, gids
}
