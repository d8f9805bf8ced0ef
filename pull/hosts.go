package pull

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// capability says what an endpoint may be asked for.
type capability uint8

const (
	canPull    capability = 1 << iota // content by digest
	canResolve                        // content by tag, and tag lists
)

// hostConfig is how one endpoint of a registry is reached: a mirror, or the
// registry itself.
type hostConfig struct {
	schemes     []string // in the order in which they are tried
	host        string   // host[:port]
	path        string   // prefix of the API, "/v2" unless overridden
	caps        capability
	origin      bool // the last resort, not a mirror
	ns          bool // tell the endpoint which registry is meant (parameter ns)
	header      http.Header
	tls         tlsFiles
	dialTimeout time.Duration // 0: the policy's
}

// hostsRoot is a directory that hosts.toml files are looked for in.
type hostsRoot struct {
	dir string
	// foreign is that of another program, which goes on without a file that it
	// cannot read. Elsewhere that is an error: what is asked by tag would come
	// from another registry than the one that was configured.
	foreign bool
}

func (c *Client) hostsRoots() []hostsRoot {
	if c.HostsDirs == nil {
		return []hostsRoot{{dir: "/etc/byhand/certs.d"}, {dir: "/etc/containerd/certs.d", foreign: true}}
	}
	roots := make([]hostsRoot, len(c.HostsDirs))
	for i, dir := range c.HostsDirs {
		roots[i].dir = dir
	}
	return roots
}

// hostConfigs returns the endpoints of a registry, mirrors first, the origin
// last. warn receives what is wrong with another program's configuration:
// mistakes there must not stop a pull that works without it.
func (c *Client) hostConfigs(registry string, roots []hostsRoot, warn func(error)) ([]hostConfig, error) {
	var mirrors []hostConfig
	origin := hostConfig{}
	for _, root := range roots {
		dir, err := root.find(registry)
		if err != nil {
			return nil, err
		}
		if dir == "" {
			continue
		}
		file := filepath.Join(dir, "hosts.toml")
		data, err := readConfigFile(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
			origin.tls.dirs = append(origin.tls.dirs, dir)
			continue
		}
		var f hostsFile
		if err == nil {
			f, err = parseHostsFile(data, dir)
		}
		if err != nil && !root.foreign {
			return nil, &configError{File: file, Err: err}
		}
		if err != nil {
			warn(&configError{File: file, Err: err})
			origin.tls.dirs = append(origin.tls.dirs, dir)
			continue
		}
		mirrors = f.mirrors
		f.origin.tls.dirs = origin.tls.dirs
		origin = f.origin
		break
	}
	c.completeOrigin(&origin, registry)
	hosts := append(mirrors, origin)
	for i := range hosts {
		h := &hosts[i]
		h.ns = h.host != registry && !(registry == dockerHub && h.host == dockerHubHost)
		h.tls.dirs = append(h.tls.dirs, certDirs(certDirName(h.host))...)
		if h.origin {
			h.tls.dirs = append(h.tls.dirs, c.CertDirs...)
		} else {
			h.tls.caDirs = c.CertDirs // the client certificates there are not for mirrors
		}
		h.tls.skipVerify = h.tls.skipVerify || c.SkipTLSVerify
	}
	return hosts, nil
}

const (
	dockerHub     = "docker.io"
	dockerHubHost = "registry-1.docker.io"
)

// completeOrigin fills in what hosts.toml does not say.
func (c *Client) completeOrigin(h *hostConfig, registry string) {
	h.origin = true
	h.caps = canPull | canResolve
	if h.host != "" {
		return
	}
	h.path = "/v2"
	h.host = registry
	if registry == dockerHub {
		h.host = dockerHubHost
		h.schemes = []string{"https"}
		return
	}
	switch {
	case c.PlainHTTP:
		h.schemes = []string{"http", "https"}
	case c.SkipTLSVerify, isLoopback(registry):
		h.schemes = []string{"https", "http"}
	default:
		h.schemes = []string{"https"}
	}
}

// find returns the directory that describes a host, "" if there is none. The
// names are containerd's: host_port_ or host:port, else _default.
func (r hostsRoot) find(host string) (string, error) {
	for _, name := range hostDirNames(host) {
		dir := filepath.Join(r.dir, name)
		st, err := os.Stat(dir)
		switch {
		case err == nil && st.IsDir():
			return dir, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !r.foreign:
			return "", &configError{File: dir, Err: err}
		}
	}
	return "", nil
}

func hostDirNames(host string) []string {
	names := []string{host, "_default"}
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		names = append([]string{host[:i] + "_" + host[i+1:] + "_"}, names...)
	}
	return names
}

// isLoopback reports whether host[:port] can only be this machine.
func isLoopback(host string) bool {
	name := hostname(host)
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// hostname returns host without its port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// configError reports a mistake in the machine's configuration.
type configError struct {
	File string
	Err  error
}

func (e *configError) Error() string {
	var pe *fs.PathError
	if errors.As(e.Err, &pe) {
		return "read " + e.File + ": " + pe.Err.Error()
	}
	return "read " + e.File + ": " + e.Err.Error()
}

func (e *configError) Unwrap() error { return e.Err }

// maxConfigFile bounds hosts.toml and certificate files; bundles of all public
// authorities have about 250 KiB.
const maxConfigFile = 4 << 20

// readConfigFile reads a small regular file.
func readConfigFile(name string) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	if st.Size() > maxConfigFile {
		return nil, &LimitError{Object: name, Limit: "configuration file", Max: maxConfigFile, Got: st.Size()}
	}
	return os.ReadFile(name)
}
