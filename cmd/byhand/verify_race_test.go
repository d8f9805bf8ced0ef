package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// TestVerifyRemoved has another process remove the image between the look at
// the list and the look at the layers: it is gone then, not damaged. The same
// where the name means something else since.
func TestVerifyRemoved(t *testing.T) {
	for name, again := range map[string]bool{"removed": false, "pulled anew": true} {
		t.Run(name, func(t *testing.T) { testVerifyRemoved(t, again) })
	}
}

func testVerifyRemoved(t *testing.T, again bool) {
	t.Helper()
	image, store := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "store")
	buildImage(t, image, map[string]any{"os": "linux"}, [][]byte{testtar.Tar(testtar.File("f", "1"))})
	name := "oci:" + image
	add := func(ctx context.Context, s *session) error {
		img, err := s.resolve(ctx, name)
		if err != nil {
			return err
		}
		if _, err := s.addLayers(ctx, img); err != nil {
			return err
		}
		if err := s.keepMetadata(ctx, img); err != nil {
			return err
		}
		return s.tag(ctx, img)
	}
	inSession(t, store, add)
	inSession(t, store, func(ctx context.Context, s *session) error {
		ref, err := s.parse(name)
		if err != nil {
			return err
		}
		rec, err := s.record(ctx, ref)
		if err != nil {
			return err
		}
		inSession(t, store, func(ctx context.Context, other *session) error {
			_, err := other.store.Remove(ctx, ref.String())
			return err
		})
		if again {
			if err := os.RemoveAll(image); err != nil {
				return err
			}
			buildImage(t, image, map[string]any{"os": "linux"}, [][]byte{testtar.Tar(testtar.File("f", "2"))})
			inSession(t, store, add)
		}
		if report, err := s.verify(ctx, ref, rec); !isAny[*overlay.NotFoundError](err) {
			t.Errorf("verify what was removed: %+v, %v", report, err)
		}
		return nil
	})
}

// inSession runs f as a command on the store.
func inSession(t *testing.T, store string, f func(context.Context, *session) error) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	std := streams{in: null, out: null, err: null}
	app := newApp(std)
	app.Commands = []*cli.Command{{Name: "probe", Action: action(std, operands{}, withStore(f))}}
	if err := app.RunContext(t.Context(), []string{"byhand", "--store", store, "probe"}); err != nil {
		t.Fatal(err)
	}
}
