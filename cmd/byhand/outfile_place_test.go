package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
)

// TestPlantedLink: a link that somebody else has made in a directory like /tmp
// leads nothing elsewhere, whether the kernel sees to that or not; one's own does.
func TestPlantedLink(t *testing.T) {
	testneed.Root(t)
	const nobody = 65534
	for _, tt := range []struct {
		name     string
		mode     fs.FileMode
		linkUser int
		old      bool // the link leads to a file
		follows  bool
	}{
		{"another's", 0o777 | fs.ModeSticky, nobody, true, false},
		{"another's, to nothing", 0o777 | fs.ModeSticky, nobody, false, false},
		{"one's own", 0o777 | fs.ModeSticky, 0, true, true},
		{"in a directory of one's own", 0o755, nobody, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp, other := t.TempDir(), t.TempDir()
			link, target := filepath.Join(tmp, "out"), filepath.Join(other, "target")
			err := errors.Join(os.Chmod(tmp, tt.mode), os.Symlink(target, link), os.Lchown(link, tt.linkUser, tt.linkUser))
			if tt.old {
				err = errors.Join(err, os.WriteFile(target, []byte("old"), 0o600))
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = outputFile(link, func(w io.Writer) error {
				_, err := io.WriteString(w, "new")
				return err
			})
			got, _ := os.ReadFile(target)
			if (err == nil) != tt.follows || (string(got) == "new") != tt.follows {
				t.Errorf("error %v, the target holds %q", err, got)
			}
			if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link is %v, %v", info, err)
			}
		})
	}
}

// TestTakePlace: who may not give a file to the group of the one it replaces does
// not let another group read it.
func TestTakePlace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	old, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		may  string
		f    owned
		want fs.FileMode
	}{
		{"everything", owned{user: true, group: true}, 0o640},
		{"the group alone", owned{group: true}, 0o640},
		{"nothing", owned{}, 0o600},
	} {
		if got := takePlace(tt.f, old); got != tt.want {
			t.Errorf("who may change %s: mode %03o, expected %03o", tt.may, got, tt.want)
		}
	}
}

// owned is a file of which the caller may change this.
type owned struct{ user, group bool }

func (o owned) Chown(uid, gid int) error {
	if uid >= 0 && !o.user || gid >= 0 && !o.group {
		return fs.ErrPermission
	}
	return nil
}
