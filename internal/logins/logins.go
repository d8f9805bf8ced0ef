// Package logins finds the login for a registry where docker, podman and
// skopeo keep theirs: in credential files and credential helpers.
//
// Nothing here writes, and no error or source name contains a secret.
package logins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Login is a user name with a password, or an OAuth2 refresh token. The zero
// Login is the anonymous one.
type Login struct {
	Username      string
	Password      string
	IdentityToken string
}

// String hides the secrets from careless formatting.
func (l Login) String() string { return "login(redacted)" }

// GoString is like String, for %#v.
func (l Login) GoString() string { return l.String() }

// Finder looks for logins. The zero value looks where the environment says.
type Finder struct {
	// Explicit is a login that was given on the command line. It is for Host
	// (as references name it: docker.io, quay.io, …), and comes first there.
	Explicit *Login
	Host     string

	// AuthFile is the one file to look at, and must exist. It goes before the
	// one that REGISTRY_AUTH_FILE names, of which the same holds: who names a
	// file does not mean other logins to be used, as with podman and skopeo.
	AuthFile string

	// UID is whose files are looked for; nil means this process's user. In a
	// user namespace of one's own that is another number than outside.
	UID func() int
	// Getenv is os.Getenv unless set; tests set it.
	Getenv func(string) string
}

// Find returns the login for a repository (HOST/PATH in full), and the name of
// its source. Without a login, source says where none was found. The error
// joins what is wrong with files and helpers; the search goes on behind them, so
// that there can be a login as well as an error.
func (f Finder) Find(ctx context.Context, repository string) (login Login, source string, err error) {
	host, _, _ := strings.Cut(repository, "/")
	if f.Explicit != nil && host == f.Host {
		return *f.Explicit, "--creds", nil
	}
	var (
		errs         []error
		none, looked []string
	)
	for _, file := range f.files() {
		l, source, found, err := f.fromFile(ctx, file, repository)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if found {
			return l, source, errors.Join(errs...)
		}
		if source != "" {
			none = append(none, source)
		}
		looked = append(looked, file.path)
	}
	source = "no credential file"
	if len(looked) > 0 {
		source += ", looked for " + strings.Join(looked, ", ")
	}
	if len(none) > 0 {
		source = "no login for " + host + " in " + strings.Join(none, ", ")
	}
	return Login{}, source, errors.Join(errs...)
}

// file is a credential file and what it means if it is not there.
type file struct {
	path     string
	required bool // the user named it
}

func (f Finder) uid() int {
	if f.UID != nil {
		return f.UID()
	}
	return os.Getuid()
}

// files lists the credential files in the order in which they count.
func (f Finder) files() []file {
	getenv := f.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	if p := cmp.Or(f.AuthFile, getenv("REGISTRY_AUTH_FILE")); p != "" {
		return []file{{p, true}}
	}
	var list []file
	if d := getenv("XDG_RUNTIME_DIR"); d != "" {
		list = append(list, file{filepath.Join(d, "containers/auth.json"), false})
	} else {
		list = append(list, file{fmt.Sprintf("/run/containers/%d/auth.json", f.uid()), false})
	}
	home := getenv("HOME")
	if d := getenv("XDG_CONFIG_HOME"); d != "" {
		list = append(list, file{filepath.Join(d, "containers/auth.json"), false})
	} else if home != "" {
		list = append(list, file{filepath.Join(home, ".config/containers/auth.json"), false})
	}
	if d := getenv("DOCKER_CONFIG"); d != "" {
		list = append(list, file{filepath.Join(d, "config.json"), false})
	} else if home != "" {
		list = append(list, file{filepath.Join(home, ".docker/config.json"), false})
	}
	return list
}

// fromFile looks into one file and the helpers that it names. source is ""
// if the file is not there.
func (f Finder) fromFile(ctx context.Context, file file, repository string) (login Login, source string, found bool, err error) {
	c, err := readConfig(file.path)
	if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) && !file.required {
		return Login{}, "", false, nil
	}
	if err != nil {
		return Login{}, "", false, err
	}
	keys := lookupKeys(repository)
	var errs []error
	for _, key := range keys {
		if helper := c.CredHelpers[key]; helper != "" {
			l, found, err := askHelper(ctx, helper, key)
			if found {
				return l, helperName(helper, file.path), true, nil
			}
			if err != nil {
				errs = append(errs, err)
			}
		}
	}
	if l, found, err := c.entry(keys); found || err != nil {
		if err != nil {
			err = fmt.Errorf("read %s: %w", file.path, err)
		}
		return l, file.path, found, err
	}
	if c.CredsStore != "" && len(errs) == 0 {
		for _, key := range hostKeys(repository) {
			l, found, err := askHelper(ctx, c.CredsStore, key)
			if found {
				return l, helperName(c.CredsStore, file.path), true, nil
			}
			if err != nil {
				errs = append(errs, err)
				break // it is broken, and would be for the next name
			}
		}
	}
	return Login{}, file.path, false, errors.Join(errs...)
}

func helperName(helper, path string) string {
	return helperPrefix + helper + " (" + path + ")"
}
