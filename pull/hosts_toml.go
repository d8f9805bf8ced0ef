package pull

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// hostsFile is what a hosts.toml says, in containerd's format
// (containerd, docs/hosts.md). What it does not say of the origin is zero.
type hostsFile struct {
	mirrors []hostConfig
	origin  hostConfig
}

// hostTable is the part of the format that is the same for a mirror and, at
// the top of the file, for the registry itself.
type hostTable struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`     // FILE or [FILE, …]
	Client       any            `toml:"client"` // FILE, [FILE, …] or [[CERT, KEY], …]
	SkipVerify   bool           `toml:"skip_verify"`
	Header       map[string]any `toml:"header"` // VALUE or [VALUE, …]
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// parseHostsFile parses a hosts.toml; file names in it are relative to dir.
func parseHostsFile(data []byte, dir string) (hostsFile, error) {
	var doc struct {
		hostTable
		Server string               `toml:"server"`
		Host   map[string]hostTable `toml:"host"`
	}
	if err := toml.Unmarshal(data, &doc); err != nil {
		return hostsFile{}, err
	}
	var f hostsFile
	for _, name := range mirrorOrder(data) {
		t, ok := doc.Host[name]
		if !ok {
			continue
		}
		h, err := t.config(name, dir)
		if err == nil && name == "" {
			err = errors.New("a host needs an address")
		}
		if err != nil {
			return hostsFile{}, fmt.Errorf("host %q: %w", withoutUser(name), err)
		}
		f.mirrors = append(f.mirrors, h)
	}
	var err error
	if f.origin, err = doc.config(doc.Server, dir); err != nil {
		return hostsFile{}, fmt.Errorf("server %q: %w", withoutUser(doc.Server), err)
	}
	return f, nil
}

// withoutUser hides what may be a password in an address.
func withoutUser(server string) string {
	if i := strings.LastIndexByte(server, '@'); i >= 0 {
		return "…" + server[i:]
	}
	return server
}

// mirrorOrder returns the names of the host tables in the order of the file,
// which is the order in which they are asked. Decoding into a map loses it.
func mirrorOrder(data []byte) []string {
	var (
		p     unstable.Parser
		names []string
		inTop = true
		seen  = map[string]bool{}
	)
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		var key []string
		for it := e.Key(); it.Next(); {
			key = append(key, string(it.Node().Data))
		}
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			inTop = false
			if len(key) == 1 && key[0] == "host" {
				inTop = true // [host] with dotted or inline tables below it
				continue
			}
		case unstable.KeyValue:
			if !inTop {
				continue
			}
			if len(key) > 0 && key[0] != "host" {
				key = append([]string{"host"}, key...)
			}
		default:
			continue
		}
		if len(key) >= 2 && key[0] == "host" && !seen[key[1]] {
			seen[key[1]] = true
			names = append(names, key[1])
		}
	}
	return names
}

// config checks t and turns it into an endpoint. server may be "" for the
// origin, which then has no host yet.
func (t hostTable) config(server, dir string) (hostConfig, error) {
	var h hostConfig
	if server != "" {
		if err := h.setServer(server, t.OverridePath); err != nil {
			return h, err
		}
	}
	var err error
	if h.caps, err = parseCapabilities(t.Capabilities); err != nil {
		return h, err
	}
	if h.tls.ca, err = fileList(t.CA, dir); err != nil {
		return h, fmt.Errorf("ca: %w", err)
	}
	if h.tls.pairs, err = keyPairs(t.Client, dir); err != nil {
		return h, fmt.Errorf("client: %w", err)
	}
	if h.header, err = parseHeader(t.Header); err != nil {
		return h, fmt.Errorf("header: %w", err)
	}
	h.tls.skipVerify = t.SkipVerify
	if t.DialTimeout != "" {
		if h.dialTimeout, err = time.ParseDuration(t.DialTimeout); err != nil || h.dialTimeout < 0 {
			return h, fmt.Errorf("dial_timeout: %q is not a duration such as 10s", t.DialTimeout)
		}
	}
	return h, nil
}

// setServer parses the address of an endpoint. The API is below /v2 unless
// override says that the path is complete as it stands.
func (h *hostConfig) setServer(server string, override bool) error {
	if !strings.HasPrefix(server, "http://") && !strings.HasPrefix(server, "https://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return fmt.Errorf("not an address; the form is https://HOST[:PORT][/PATH]")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("an address must have no user, query or fragment")
	}
	h.schemes, h.host, h.path = []string{u.Scheme}, u.Host, ""
	if u.Path != "" && u.Path != "/" {
		h.path = path.Clean(u.Path)
	}
	if !override && !strings.HasSuffix(h.path, "/v2") {
		h.path += "/v2"
	}
	return nil
}

// parseCapabilities knows containerd's names. None means all.
func parseCapabilities(names []string) (capability, error) {
	if len(names) == 0 {
		return canPull | canResolve, nil
	}
	var c capability
	for _, n := range names {
		switch strings.ToLower(n) {
		case "pull":
			c |= canPull
		case "resolve":
			c |= canResolve
		case "push", "referrers": // not needed here
		default:
			return 0, fmt.Errorf("capabilities: %q is not one of pull, resolve, push", n)
		}
	}
	return c, nil
}

// stringList accepts a string or a list of strings.
func stringList(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		list := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%v is not a string", e)
			}
			list = append(list, s)
		}
		return list, nil
	default:
		return nil, fmt.Errorf("%v is neither a string nor a list of strings", v)
	}
}

// fileList is like stringList, for file names relative to dir.
func fileList(v any, dir string) ([]string, error) {
	list, err := stringList(v)
	for i, f := range list {
		if !filepath.IsAbs(f) {
			list[i] = filepath.Join(dir, f)
		}
	}
	return list, err
}

// keyPairs parses client certificates: one file with certificate and key, a
// list of such files, or a list of pairs.
func keyPairs(v any, dir string) ([]keyPair, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
		if v == nil {
			return nil, nil
		}
	}
	pairs := make([]keyPair, 0, len(list))
	for _, e := range list {
		files, err := fileList(e, dir)
		if err != nil {
			return nil, err
		}
		switch _, single := e.(string); {
		case single:
			pairs = append(pairs, keyPair{cert: files[0], key: files[0]})
		case len(files) == 2 && files[1] == filepath.Join(dir, ""):
			// An empty key means that it is in the certificate's file.
			pairs = append(pairs, keyPair{cert: files[0], key: files[0]})
		case len(files) == 2:
			pairs = append(pairs, keyPair{cert: files[0], key: files[1]})
		default:
			return nil, fmt.Errorf("%v is neither a file nor a pair of files", e)
		}
	}
	return pairs, nil
}

func parseHeader(m map[string]any) (http.Header, error) {
	if len(m) == 0 {
		return nil, nil
	}
	h := make(http.Header, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) { // of names that differ in case the same one counts always
		values, err := stringList(m[name])
		if err != nil {
			return nil, fmt.Errorf("%s: wants a string or a list of strings", name)
		}
		if !validHeaderName(name) {
			return nil, fmt.Errorf("%q is not a header name", name)
		}
		for _, val := range values {
			if strings.ContainsAny(val, "\r\n\x00") {
				return nil, fmt.Errorf("%s: the value has a line break or zero byte", name)
			}
		}
		h[textproto.CanonicalMIMEHeaderKey(name)] = values
	}
	return h, nil
}

func validHeaderName(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}
