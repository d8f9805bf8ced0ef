package pull_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/pull"
)

var (
	sum256 = "sha256:" + strings.Repeat("ab", 32)
	sum512 = "sha512:" + strings.Repeat("cd", 64)

	longPath = strings.Repeat("x", 4096)
)

func TestParseReference(t *testing.T) {
	tests := map[string]struct {
		want pull.Reference
		full string // "": the same as the input
	}{
		"alpine": {
			want: pull.Reference{Host: "docker.io", Repository: "library/alpine", Tag: "latest"},
			full: "docker.io/library/alpine:latest",
		},
		"alpine:3.20": {
			want: pull.Reference{Host: "docker.io", Repository: "library/alpine", Tag: "3.20"},
			full: "docker.io/library/alpine:3.20",
		},
		"org/app": {
			want: pull.Reference{Host: "docker.io", Repository: "org/app", Tag: "latest"},
			full: "docker.io/org/app:latest",
		},
		"index.docker.io/alpine": {
			want: pull.Reference{Host: "docker.io", Repository: "library/alpine", Tag: "latest"},
			full: "docker.io/library/alpine:latest",
		},
		"docker://quay.io/org/app:v1": {
			want: pull.Reference{Host: "quay.io", Repository: "org/app", Tag: "v1"},
			full: "quay.io/org/app:v1",
		},
		"quay.io/org/app@" + sum256: {
			want: pull.Reference{Host: "quay.io", Repository: "org/app", Digest: digest.Digest(sum256)},
		},
		"host:5000/app:tag@" + sum256: {
			want: pull.Reference{Host: "host:5000", Repository: "app", Tag: "tag", Digest: digest.Digest(sum256)},
		},
		"localhost/app@" + sum512: {
			want: pull.Reference{Host: "localhost", Repository: "app", Digest: digest.Digest(sum512)},
		},
		"[::1]:5000/a/b/c__d.e-f:T_1": {
			want: pull.Reference{Host: "[::1]:5000", Repository: "a/b/c__d.e-f", Tag: "T_1"},
		},
		"dir:v1": {
			want: pull.Reference{Host: "docker.io", Repository: "library/dir", Tag: "v1"}, full: "docker.io/library/dir:v1",
		},
		"[::1]/app": {want: pull.Reference{Host: "[::1]", Repository: "app", Tag: "latest"}, full: "[::1]/app:latest"},
		"h:65535/app": {
			want: pull.Reference{Host: "h:65535", Repository: "app", Tag: "latest"}, full: "h:65535/app:latest",
		},
		"dir:5000/app": {
			want: pull.Reference{Host: "dir:5000", Repository: "app", Tag: "latest"}, full: "dir:5000/app:latest",
		},
		"oci":                                 {want: pull.Reference{Host: "docker.io", Repository: "library/oci", Tag: "latest"}, full: "docker.io/library/oci:latest"},
		"docker://oci:5000/app":               {want: pull.Reference{Host: "oci:5000", Repository: "app", Tag: "latest"}, full: "docker://oci:5000/app:latest"},
		"docker://docker-archive:5000/app:v1": {want: pull.Reference{Host: "docker-archive:5000", Repository: "app", Tag: "v1"}},
		"docker://docker-daemon:5000/app:v1":  {want: pull.Reference{Host: "docker-daemon:5000", Repository: "app", Tag: "v1"}},
		"docker-archive:" + longPath + ":alpine": {
			want: pull.Reference{Transport: pull.DockerArchive, Path: longPath, Host: "docker.io", Repository: "library/alpine", Tag: "latest"},
			full: "docker-archive:" + longPath + ":docker.io/library/alpine:latest",
		},
		"oci:dir": {
			want: pull.Reference{Transport: pull.OCI, Path: "dir"},
		},
		"oci:/a b/dir:v1": {
			want: pull.Reference{Transport: pull.OCI, Path: "/a b/dir", Tag: "v1"},
		},
		"oci:dir:localhost:5000/app:v1": {
			want: pull.Reference{Transport: pull.OCI, Path: "dir", Tag: "localhost:5000/app:v1"},
		},
		"oci:a@b@" + sum256: {
			want: pull.Reference{Transport: pull.OCI, Path: "a@b", Digest: digest.Digest(sum256)},
		},
		"oci-archive:-": {
			want: pull.Reference{Transport: pull.OCIArchive, Path: "-"},
		},
		"oci-archive:./x.tar:v1": {
			want: pull.Reference{Transport: pull.OCIArchive, Path: "./x.tar", Tag: "v1"},
		},
		"docker-archive:x.tar": {
			want: pull.Reference{Transport: pull.DockerArchive, Path: "x.tar"},
		},
		"docker-archive:-:alpine": {
			want: pull.Reference{Transport: pull.DockerArchive, Path: "-", Host: "docker.io", Repository: "library/alpine", Tag: "latest"},
			full: "docker-archive:-:docker.io/library/alpine:latest",
		},
		"docker-archive:x.tar:localhost:5000/a:b": {
			want: pull.Reference{Transport: pull.DockerArchive, Path: "x.tar", Host: "localhost:5000", Repository: "a", Tag: "b"},
		},
	}
	for in, tt := range tests {
		t.Run(in, func(t *testing.T) {
			got, err := pull.ParseReference(in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			full := tt.full
			if full == "" {
				full = in
			}
			if got.String() != full {
				t.Errorf("String() = %q, want %q", got.String(), full)
			}
		})
	}
}

func TestParseReferenceErrors(t *testing.T) {
	tests := map[string]string{ // input to a part of the message
		"":                                      "empty",
		"Alpine":                                "lower case",
		"https://quay.io/app":                   "docker://",
		"docker://":                             "not an image name",
		"docker://docker://x":                   "docker://",
		"app:":                                  "not an image name",
		"app:a b":                               "not an image name",
		"app@sha256:12":                         "digest",
		"app@SHA256:" + strings.Repeat("a", 64): "the form is NAME@sha256:",
		"app@md5:" + strings.Repeat("a", 32):    "not supported",
		"app@sha256:" + strings.Repeat("z", 64): "digest",
		"app@sha256:" + strings.Repeat("A", 64): "digest",
		"app@sha256:" + strings.Repeat("a", 63): "length",
		strings.Repeat("a", 256):                "255",
		"app:" + strings.Repeat("a", 129):       "not an image name",
		"../etc/passwd":                         "not an image name",
		"host/a/../b":                           "not an image name",
		"0_0.0/app":                             "name of a host",
		"127.0.0.1:99999/app":                   "port 99999 is none; ports are 1 to 65535",
		"[::1]:65536/app":                       "port 65536",
		"host:0/app:v1":                         "port 0",
		"docker://host:070000/app@" + sum256:    "port 070000",
		strings.Repeat("a", 64):                 "not an image name", // Docker takes it for an image ID
		"oci:":                                  "path is missing",
		"oci::v1":                               "path is missing",
		"oci:dir:":                              "malformed tag",
		"oci:dir:a b":                           "malformed tag",
		"docker-daemon:alpine:3.20":             "docker save -o FILE alpine:3.20 and use docker-archive:FILE",
		"containers-storage:quay.io/org/app:v1": "skopeo copy containers-storage:quay.io/org/app:v1 oci:DIR",
		"dir:./image":                           "skopeo copy dir:./image oci:DIR",
		"dir:/srv/image":                        "the dir: transport is not supported",
		"oci:dir@sha256:12":                     "digest",
		"oci-archive:":                          "path is missing",
		"docker-archive:":                       "path is missing",
		"docker-archive:x:":                     "not an image name",
		"docker-archive:x:a@" + sum256:          "by digest",
		"oci:a\x00b":                            "zero byte",
		strings.Repeat("x", 10_000):             "too long",
		"oci:x" + longPath:                      "path is too long",
		"docker-archive:x" + longPath + ":a":    "path is too long",
	}
	for in, part := range tests {
		_, err := pull.ParseReference(in)
		var ref *pull.ReferenceError
		if !errors.As(err, &ref) {
			t.Errorf("%q: error %v, want a ReferenceError", in, err)
			continue
		}
		if !strings.Contains(ref.Reason, part) {
			t.Errorf("%q: %q does not say %q", in, ref.Reason, part)
		}
		if len(err.Error()) > 1000 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
}

func ExampleParseReference() {
	for _, s := range []string{"alpine", "localhost:5000/app:v1", "oci:dir:v1"} {
		ref, err := pull.ParseReference(s)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ref)
	}
	// Output:
	// docker.io/library/alpine:latest
	// localhost:5000/app:v1
	// oci:dir:v1
}

// FuzzParseReference: what is accepted has a full form that is read back as the
// same reference, and never leads out of its place on a registry.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{
		"alpine", "quay.io/org/app@" + sum256, "host:5000/app:tag@" + sum512, "docker://a/b:c", "oci:dir:tag", "oci:dir@" + sum256,
		"oci-archive:-:x", "docker-archive:-:alpine:3", "oci::", "[::1]:5/x", "a/../b", "oci:a:b@" + sum256, "0_0.0/0", "docker://oci:5/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := pull.ParseReference(s)
		if err != nil {
			if !errors.As(err, new(*pull.ReferenceError)) {
				t.Fatalf("error %T", err)
			}
			return
		}
		again, err := pull.ParseReference(ref.String())
		if err != nil {
			t.Fatalf("%q: its full form %q is refused: %v", s, ref.String(), err)
		}
		if again != ref {
			t.Fatalf("%q: full form %q is another reference: %+v, %+v", s, ref.String(), ref, again)
		}
		if ref.Transport == pull.Registry {
			if strings.ContainsAny(ref.Host+ref.Repository+ref.Tag, "?#%\\ \r\n") || strings.Contains(ref.Repository, "..") && !validDots(ref.Repository) {
				t.Fatalf("%q: dangerous %+v", s, ref)
			}
		} else if ref.Path == "" {
			t.Fatalf("%q: no path", s)
		}
	})
}

// validDots reports whether no component of a path is "." or "..".
func validDots(path string) bool {
	for c := range strings.SplitSeq(path, "/") {
		if c == "." || c == ".." {
			return false
		}
	}
	return true
}

// A login that somebody puts into a name is not repeated.
func TestReferenceLogin(t *testing.T) {
	for in, want := range map[string]string{
		"ann:s3cret@host/app:v1":             "ann:…@host/app:v1",
		"docker://ann:s3/cr@t@host:5000/a/b": "docker://ann:…@host:5000/a/b",
		"https://s3cret@host/app":            "https:…@host/app",
		"ann@mail.org:s3cret@host/app":       "ann@mail.org:…@host/app",
		"HTTPS://ann:s3cret@host/app":        "HTTPS://ann:…@host/app",
		":s3cret@host/app":                   ":…@host/app",
		"ann:s3cret@quay.io":                 "ann:…@quay.io",
		"https://ann:s3cret@localhost:5000":  "https://ann:…@localhost:5000",
		"app:v1@latest":                      "app:v1@latest",
		"app:v1@sha256:123":                  "app:v1@sha256:123",
		"host:5000/app:v1@sha256:123":        "host:5000/app:v1@sha256:123",
		"oci:dir@here/and:not a tag":         "oci:dir@here/and:not a tag",
	} {
		_, err := pull.ParseReference(in)
		var re *pull.ReferenceError
		if !errors.As(err, &re) || re.Input != want || strings.Contains(err.Error(), "s3") {
			t.Errorf("%s: %v, expected %q", in, err, want)
		}
	}
}
