package testimages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Tag is the name that every image has in its layout.
const Tag = "latest"

// Build makes the recipe's image, unless it is in the cache already, and
// returns the OCI image layout's directory, which nobody may change. Processes
// that want the same image at the same time wait for the first. It needs root,
// mmdebstrap and a Debian mirror.
func Build(ctx context.Context, r Recipe) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, r.key())
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err == nil {
		return dir, nil
	}
	const tries = 3 // a mirror may fail
	for range tries {
		if err = buildOnce(ctx, r, cache, dir); err == nil {
			return dir, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return "", fmt.Errorf("make image %s: %w", r.Name, err)
}

func buildOnce(ctx context.Context, r Recipe, cache, dir string) error {
	work, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return err
	}
	b := &builder{recipe: r, work: work}
	err = b.build(ctx)
	if err == nil {
		err = os.Rename(filepath.Join(work, "layout"), dir)
	}
	// Mounts were made in a namespace that is gone by now, so nothing can be
	// mounted in here.
	if removeErr := os.RemoveAll(work); err == nil {
		err = removeErr
	}
	return err
}

// cacheDir is this user's own, and nobody else's link or directory in its
// place.
func cacheDir() (string, error) {
	dir := filepath.Join(os.TempDir(), "byhand-testimages-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o022 != 0 {
		return "", fmt.Errorf("use cache %s: it is not a directory of this user's alone", dir)
	}
	return dir, nil
}

// lock waits for an exclusive one, which ends with the process if not before.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { _ = f.Close() }, nil
}

// builder has the work directory of one image: layer/N are the lower dirs,
// base first.
type builder struct {
	recipe Recipe
	work   string
	lowers []string
}

func (b *builder) build(ctx context.Context) error {
	l, err := newLayout(filepath.Join(b.work, "layout"))
	if err != nil {
		return err
	}
	if err := b.base(ctx, l); err != nil {
		return fmt.Errorf("base layer: %w", err)
	}
	for _, s := range b.recipe.Steps {
		if err := b.step(ctx, l, s); err != nil {
			return fmt.Errorf("layer %q: %w", s.Name, err)
		}
	}
	return l.finish(ocispec.ImageConfig{User: b.recipe.User, Env: b.recipe.Env, Cmd: b.recipe.Cmd})
}

// base makes the first layer of mmdebstrap's tar as it comes, and unpacks it
// for the steps to stand on.
func (b *builder) base(ctx context.Context, l *layout) error {
	tarball := filepath.Join(b.work, "base.tar")
	suite := b.recipe.Suite
	if suite == "" {
		suite = defaultSuite
	}
	args := []string{
		"--variant=apt", "--quiet", "--mode=root", "--format=tar",
		`--aptopt=Acquire::Retries "5"`, // stays in the image, for the apt of the steps
	}
	if len(b.recipe.Include) > 0 {
		args = append(args, "--include="+strings.Join(b.recipe.Include, ","))
	}
	if err := command(ctx, "mmdebstrap", append(args, suite, tarball, mirror(ctx))...); err != nil {
		return err
	}
	err := l.layer("mmdebstrap "+suite, false, func(w io.Writer) error {
		f, err := os.Open(tarball)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = io.Copy(w, f)
		return err
	})
	if err != nil || len(b.recipe.Steps) == 0 {
		return err
	}
	lower, err := b.newLower()
	if err != nil {
		return err
	}
	err = command(ctx, "tar", "--extract", "--file", tarball, "--directory", lower, "--numeric-owner",
		"--xattrs", "--xattrs-include=*", "--preserve-permissions")
	return errors.Join(err, os.Remove(tarball))
}

func (b *builder) newLower() (string, error) {
	dir := filepath.Join(b.work, "layer", strconv.Itoa(len(b.lowers)))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	b.lowers = append(b.lowers, dir)
	return dir, nil
}

// inChroot mounts what the steps before left below $1 as the lower dirs of an
// overlay, inside a mount namespace that ends with it, and runs the script $5
// on top.
const inChroot = `set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3,index=off,redirect_dir=off,metacopy=off,xino=off" "$4"
mount -t proc proc "$4/proc"
exec chroot "$4" /bin/sh -ec "$5"
`

// step runs one script and makes a layer of what it changed.
func (b *builder) step(ctx context.Context, l *layout, s Step) error {
	lowers := make([]string, 0, len(b.lowers))
	for i := len(b.lowers) - 1; i >= 0; i-- { // overlayfs wants the top first
		lowers = append(lowers, b.lowers[i])
	}
	upper, err := b.newLower()
	if err != nil {
		return err
	}
	merged, workdir := filepath.Join(b.work, "merged"), filepath.Join(b.work, "workdir")
	for _, dir := range []string{merged, workdir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := command(ctx, "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
		"sh", "-c", inChroot, "sh", strings.Join(lowers, ":"), upper, workdir, merged, s.Script); err != nil {
		return err
	}
	return l.layer(s.Name, s.Zstd, func(w io.Writer) error { return writeUpper(ctx, w, upper) })
}

// mirror is the Debian mirror that this machine itself uses.
func mirror(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").Output()
	if err == nil {
		for uri := range strings.FieldsSeq(string(out)) {
			if strings.HasSuffix(uri, "/debian/") {
				return uri
			}
		}
	}
	return "http://deb.debian.org/debian"
}

// command runs a program whose output matters only if it fails.
func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		if len(text) > 2000 {
			text = "… " + text[len(text)-2000:]
		}
		return fmt.Errorf("run %s: %w: %s", name, err, text)
	}
	return nil
}
