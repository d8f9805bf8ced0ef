package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

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
