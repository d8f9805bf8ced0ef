package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/logins"
	"github.com/byhand/byhand/internal/userns"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// session is what the global options make: a client, a store, a display.
type session struct {
	*call
	client   *pull.Client
	store    *overlay.Store
	platform pull.Platform
	show     progress
	limits   limits
	logins   logins.Finder
	said     sync.Map    // warnings given already
	img      *pull.Image // whose layers the store is adding
	stats    *statistics
}

// withSession runs h with a session and closes it.
func withSession(h func(context.Context, *session) error) handler {
	return func(ctx context.Context, c *call) (err error) {
		s, err := newSession(ctx, c)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		return h(ctx, s)
	}
}

// withStore runs h with a session that has the store open.
func withStore(h func(context.Context, *session) error) handler {
	return withSession(func(ctx context.Context, s *session) error {
		if err := s.openStore(ctx); err != nil {
			return err
		}
		return h(ctx, s)
	})
}

func newSession(ctx context.Context, c *call) (*session, error) {
	s := &session{call: c, stats: newStatistics()}
	var err error
	if err = s.checkLevel(); err != nil {
		return nil, err
	}
	if p := c.flags.String("platform"); p != "" {
		if s.platform, err = pull.ParsePlatform(p); err != nil {
			return nil, usagef("--platform: %v", err)
		}
	}
	if s.limits, err = parseLimits(c.flags.StringSlice("limit")); err != nil {
		return nil, err
	}
	if c.flags.Int("jobs") < 1 {
		return nil, usagef("--jobs %d: expected 1 or more", c.flags.Int("jobs"))
	}
	if err = s.readLogins(ctx); err != nil {
		return nil, err
	}
	mode := c.flags.String("progress")
	if c.quiet() && mode == "auto" {
		mode = "none"
	}
	if c.explain != nil {
		s.show, err = newExplainProgress(c.explain, mode, c.std.err)
	} else {
		s.show, err = newProgress(mode, c.std.err)
	}
	if err != nil {
		return nil, err
	}
	s.client = &pull.Client{
		PlainHTTP:     c.flags.Bool("plain-http"),
		SkipTLSVerify: !c.flags.Bool("tls-verify"),
		Credentials:   s.credentials,
		Limits:        s.limits.pull,
		Retry:         s.limits.retry,
		Observe:       s.observePull,
		Stdin:         c.std.in,
		UserAgent:     "byhand/" + version(),
	}
	if dir := c.flags.String("cert-dir"); dir != "" {
		if err := mustBeDir(dir); err != nil {
			return nil, fmt.Errorf("read certificates from --cert-dir: %w", err)
		}
		s.client.CertDirs = []string{dir}
	}
	if c.flags.IsSet("hosts-dir") {
		s.client.HostsDirs = []string{}
		for _, dir := range c.flags.StringSlice("hosts-dir") {
			if dir == "" {
				continue // no mirrors
			}
			if err := mustBeDir(dir); err != nil {
				return nil, fmt.Errorf("read hosts.toml files from --hosts-dir: %w", err)
			}
			s.client.HostsDirs = append(s.client.HostsDirs, dir)
		}
	}
	return s, nil
}

// mustBeDir refuses a directory that is not there. The client takes it as it
// comes if one of the usual places is missing; one that is named is meant to be.
func mustBeDir(dir string) error {
	_, err := os.Stat(dir + "/") // which no file is
	return err
}

func (s *session) openStore(ctx context.Context) error {
	dir := s.flags.String("store")
	if env, ok := os.LookupEnv(storeVariable); ok && env == "" && dir == "" {
		dir = defaultStore() // as if it was not set
	} else if dir == "" && s.flags.IsSet("store") {
		return usagef("--store \"\": expected a directory")
	}
	if dir == "" {
		return usagef("no place for the store: name one with --store DIR, or set HOME")
	}
	options, err := storeOptions(s)
	if err != nil {
		return err
	}
	store, err := overlay.Open(ctx, dir, options)
	if err != nil {
		return &codedError{elsewhere(err), exitStorage}
	}
	s.store = store
	s.explain.Store(store.Dir(), options.UserXattr)
	s.client.Local = store
	sweepRuns(store.Dir())
	return nil
}

// elsewhere says how the store gets another place, where the file system is why
// it cannot be in this one.
func elsewhere(err error) error {
	if !isAny[*fs.PathError](err) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return err
	}
	return fmt.Errorf("%w; --store DIR or %s names another place", err, storeVariable)
}

// endProgress leaves the terminal to what follows: the result, or the
// container.
func (s *session) endProgress() {
	s.show.close()
	s.show = &quietProgress{w: s.std.err}
	if s.explain != nil {
		s.show = &explainProgress{progress: s.show, narrator: s.explain}
	}
}

// println and write are for results: they come after the display.
func (s *session) println(a ...any) error {
	s.endProgress()
	return s.call.println(a...)
}

func (s *session) write(raw []byte) error {
	s.endProgress()
	return s.call.write(raw)
}

func (s *session) close() error {
	s.endProgress()
	err := s.client.Close()
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	return err
}

// observePull turns what a pull tells into what a person sees.
func (s *session) observePull(e pull.Event) {
	s.stats.pulled(e)
	if s.explain != nil {
		s.explain.Pull(e)
		if e.Kind != pull.EventProgress && e.Kind != pull.EventWarning {
			return
		}
	}
	switch e.Kind {
	case pull.EventProgress:
		s.show.fetched(e.Digest, e.Bytes)
	case pull.EventRetry:
		s.log(levelInfo, fmt.Sprintf("%s: %v; trying again in %s", e.Object, e.Err, e.Wait.Round(100e6)))
	case pull.EventWarning:
		s.warn(e.Message)
	case pull.EventResolved:
		s.log(levelDebug, fmt.Sprintf("%s is %s", e.Object, e.Digest))
	case pull.EventVerified:
		s.log(levelDebug, fmt.Sprintf("%s: %s matches", e.Object, e.Digest))
	case pull.EventRequest, pull.EventResponse:
		s.log(levelDebug, e.Exchange.String())
	}
}

// observeStore does the same for the store.
func (s *session) observeStore(e overlay.Event) {
	var layer digest.Digest
	if s.img != nil && e.Index >= 1 && e.Index <= len(s.img.Layers) {
		layer = s.img.Layers[e.Index-1].Descriptor.Digest
	}
	s.stats.stored(layer, e)
	s.explain.Overlay(e)
	switch e.Kind {
	case overlay.EventPresent:
		s.show.done(layer, statePresent)
	case overlay.EventCommitted:
		s.show.done(layer, "unpacked")
		for _, skipped := range e.Layer.Skipped {
			s.warn(fmt.Sprintf("layer %d: %s", e.Index, skipped))
		}
	case overlay.EventWaiting:
		s.tell(levelInfo, fmt.Sprintf("layer %d: another process is unpacking it; waiting", e.Index))
	case overlay.EventRetry:
		s.tell(levelInfo, fmt.Sprintf("layer %d: %v; fetching it once more", e.Index, e.Err))
	case overlay.EventWarning:
		s.warn(e.Message)
	case overlay.EventUnpacked:
		s.show.checked(layer)
	case overlay.EventAdopted:
		s.show.checked(layer)
		s.log(levelInfo, fmt.Sprintf("layer %d: unpacked and verified by a command that did not get to its end", e.Index))
	case overlay.EventProved:
		s.log(levelInfo, fmt.Sprintf("layer %d: unpacked before the last restart, and proved to be whole", e.Index))
	case overlay.EventStarted:
		s.tell(levelDebug, fmt.Sprintf("layer %d: started", e.Index))
	}
}

// parse reads an image name. A login given on the command line is for its
// registry, and for no other that a mirror or a redirect leads to. The store
// keeps names, so that of a file must mean the same from every directory.
func (s *session) parse(arg string) (pull.Reference, error) {
	ref, err := pull.ParseReference(arg)
	switch {
	case err != nil:
		return ref, err
	case ref.Transport == pull.Registry:
		s.logins.Host = ref.Host
	case ref.Path != "-":
		path, err := filepath.Abs(ref.Path)
		// A colon would end the path where the name is read again.
		if err == nil && !strings.Contains(path, ":") {
			ref.Path = path
		}
	}
	s.explain.Reference(arg, ref)
	return ref, nil
}

// readLogins finds out where logins come from: the command line, or the
// files and helpers of podman and docker.
func (s *session) readLogins(ctx context.Context) error {
	s.logins.AuthFile = s.flags.String("authfile")
	if s.logins.AuthFile != "" {
		if _, err := os.Stat(s.logins.AuthFile); err != nil {
			return fmt.Errorf("read logins from --authfile: %w", err)
		}
	}
	s.logins.UID = func() int { return userns.OuterUID(os.Getuid()) }
	creds := s.flags.String("creds")
	if s.flags.Bool("creds-stdin") {
		if creds != "" {
			return usagef("--creds and --creds-stdin: give one of them")
		}
		var err error
		if creds, err = readSecret(ctx, s.std.in); err != nil {
			return fmt.Errorf("read credentials from standard input: %w", err)
		}
	} else if !s.flags.IsSet("creds") {
		return nil
	}
	user, password, ok := strings.Cut(creds, ":")
	if !ok || user == "" {
		return usagef("--creds, --creds-stdin: expected USER:PASSWORD")
	}
	s.logins.Explicit = &logins.Login{Username: user, Password: password}
	return nil
}

func (s *session) credentials(ctx context.Context, repository string) (pull.Credential, string, error) {
	l, source, err := s.logins.Find(ctx, repository)
	return pull.Credential(l), source, err
}
