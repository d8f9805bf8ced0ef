package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

const (
	configFile = "config.json"
	// runDir holds the config.json of a run with other arguments.
	runDir = "run"
)

// State says what a directory is, seen as a bundle.
type State int

// The states of a directory.
const (
	StateFree        State = iota // missing or empty
	StateInterrupted              // has image.json but no config.json: begun, never finished
	StateComplete                 // has config.json
	StateForeign                  // has something else
)

// Inspect says what dir is, and for StateComplete and StateForeign the
// [*ExistsError] that a caller who wanted a new bundle there reports. Only a
// directory that holds nothing but what making a bundle puts there is
// interrupted: a caller may empty it.
func Inspect(dir string) (State, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return StateFree, nil
	}
	if err != nil {
		return StateForeign, fmt.Errorf("read bundle: %w", err)
	}
	begun, lost, beside, foreign := false, false, "", ""
	for _, n := range names {
		switch name := n.Name(); {
		case name == configFile && emptied(n):
			beside = name
		case name == configFile:
			return StateComplete, &ExistsError{Path: dir, Bundle: true, Found: configFile}
		case name == imageFile:
			begun = true
			lost = emptied(n)
		case n.Type().IsRegular() && strings.HasPrefix(name, "."+imageFile+"."):
			// writeFile was killed before the rename.
		case bundleName(n):
			beside = name
		default:
			foreign = name
		}
	}
	if foreign == "" && begun && !lost && !ownImage(dir) {
		foreign = imageFile
	}
	if foreign == "" && !begun {
		foreign = beside
	}
	switch {
	case foreign != "":
		return StateForeign, &ExistsError{Path: dir, Found: foreign}
	case len(names) > 0:
		return StateInterrupted, nil
	}
	return StateFree, nil
}

// emptied recognizes a file whose name reached the disk before a power loss,
// but whose content did not.
func emptied(n fs.DirEntry) bool {
	info, err := n.Info()
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}

// bundleName says whether the entry has a name that a bundle, in the making or
// half removed, holds beside image.json.
func bundleName(n fs.DirEntry) bool {
	switch n.Name() {
	case "rootfs", "lower", "upper", "work", volumesDir, runDir:
		return n.IsDir()
	}
	return n.Type().IsRegular() && strings.HasPrefix(n.Name(), "."+configFile+".") ||
		n.IsDir() && strings.HasPrefix(n.Name(), stagePrefix)
}

// stagePrefix begins the name under which a flat rootfs is made.
const stagePrefix = ".byhand-"

// ownImage says whether image.json in dir is one that WriteImage wrote.
func ownImage(dir string) bool {
	img, err := ReadImage(dir)
	return err == nil && img.Manifest.Validate() == nil && img.Config.Validate() == nil
}

// WriteOptions says how Write publishes.
type WriteOptions struct {
	// Replace allows a config.json that is there to be replaced.
	Replace bool
}

// Write publishes config.json in the directory, which it makes if need be, for
// its owner alone: what is below may be set-user-ID. The
// file appears whole or not at all, with mode 0644, and its bytes depend on
// nothing but the Result. One that is there is kept, with an [*ExistsError],
// unless the options say otherwise.
func Write(dir string, r Result, o WriteOptions) error {
	data, err := marshal(r.Spec)
	if err != nil {
		return fmt.Errorf("write %s: %w", configFile, err)
	}
	return writeFile(dir, configFile, data, o.Replace)
}

// marshal writes JSON for people: indented, and with & and < as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// writeFile writes beside and renames.
func writeFile(dir, name string, data []byte, replace bool) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask: the runtime may be another user
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return publish(f.Name(), dir, name, replace)
}

func publish(tmp, dir, name string, replace bool) error {
	target := filepath.Join(dir, name)
	if replace {
		if err := os.Rename(tmp, target); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
		return nil
	}
	err := sys.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A file system without RENAME_NOREPLACE, as NFS: link refuses too.
		if err = os.Link(tmp, target); err == nil {
			return os.Remove(tmp)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return &ExistsError{Path: dir, Bundle: true, Found: name}
	}
	if err != nil {
		return fmt.Errorf("write bundle: rename %s: %w", target, err)
	}
	return nil
}
