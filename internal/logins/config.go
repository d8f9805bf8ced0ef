package logins

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// maxConfig bounds a credential file, in bytes.
const maxConfig = 4 << 20

// config is the part of docker's config.json, which podman's auth.json shares,
// that logins are in.
type config struct {
	Auths       map[string]auth   `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

type auth struct {
	Auth          string `json:"auth"` // base64 of USER:PASSWORD
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
}

func readConfig(path string) (config, error) {
	f, err := os.Open(path)
	if err != nil {
		return config{}, fmt.Errorf("read credential file: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return config{}, fmt.Errorf("read credential file: %w", err)
	}
	if len(data) > maxConfig {
		return config{}, fmt.Errorf("read credential file %s: larger than %d bytes", path, maxConfig)
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return config{}, nil // as podman leaves it behind after a logout
	}
	var c config
	if json.Unmarshal(data, &c) != nil {
		// The decoder's own message could quote the file.
		return config{}, fmt.Errorf("read credential file %s: not the JSON of docker or podman", path)
	}
	return c, nil
}

// entry returns the login under the first of keys that has one.
func (c config) entry(keys []string) (Login, bool, error) {
	normal := make(map[string]auth, len(c.Auths))
	for _, k := range slices.Sorted(maps.Keys(c.Auths)) {
		n := normalizeKey(k)
		// A key that is already plain goes before one that has to be
		// cut down to it. Of several such the first counts: docker login
		// keeps other tokens under https://index.docker.io/v1/access-token.
		if _, dup := normal[n]; !dup || n == k {
			normal[n] = c.Auths[k]
		}
	}
	for _, key := range keys {
		a, ok := normal[key]
		if !ok {
			continue
		}
		l, err := a.login()
		if err != nil {
			return Login{}, false, fmt.Errorf("login for %s: %w", key, err)
		}
		if l != (Login{}) { // with a helper, docker leaves empty entries
			return l, true, nil
		}
	}
	return Login{}, false, nil
}

func (a auth) login() (Login, error) {
	l := Login{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
	if a.Auth != "" {
		plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(a.Auth))
		if err != nil {
			return Login{}, errors.New("its auth is not base64")
		}
		user, password, ok := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		if !ok {
			return Login{}, errors.New("its auth is not USER:PASSWORD")
		}
		l.Username, l.Password = user, password
	}
	if l.IdentityToken != "" {
		l.Username, l.Password = "", ""
	}
	return l, nil
}

const (
	dockerHub    = "docker.io"
	dockerHubKey = "https://index.docker.io/v1/"
)

// lookupKeys lists the keys that a repository's login can be under, the most
// specific first: quay.io/org/app, quay.io/org, quay.io.
func lookupKeys(repository string) []string {
	var keys []string
	for k := repository; ; {
		keys = append(keys, k)
		i := strings.LastIndexByte(k, '/')
		if i < 0 {
			break
		}
		k = k[:i]
	}
	if host := keys[len(keys)-1]; host == dockerHub {
		// Helpers are named in the file under docker's own key.
		keys = append(keys, dockerHubKey, "index.docker.io", "registry-1.docker.io")
	}
	return keys
}

// hostKeys lists the names under which a helper keeps a host's login.
func hostKeys(repository string) []string {
	host, _, _ := strings.Cut(repository, "/")
	if host == dockerHub {
		return []string{dockerHubKey, dockerHub}
	}
	return []string{host, "https://" + host}
}

// normalizeKey cuts docker's older keys down to host or host/path: they are
// addresses such as https://quay.io/v1/.
func normalizeKey(key string) string {
	k := strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	address := k != key
	k = strings.TrimSuffix(k, "/")
	host, path, _ := strings.Cut(k, "/")
	if path == "v1" || path == "v2" || address {
		k = host
	}
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return k
}
