package pull

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/byhand/byhand/internal/testcert"
)

func TestEndpoints(t *testing.T) {
	for _, test := range []struct {
		client *Client
		name   string
		want   string
	}{
		{&Client{}, "alpine", "https://registry-1.docker.io/v2"},
		{&Client{PlainHTTP: true}, "alpine", "https://registry-1.docker.io/v2"},
		{&Client{}, "quay.io/a/b", "https://quay.io/v2"},
		{&Client{}, "127.0.0.1:5000/a", "https://127.0.0.1:5000/v2 http://127.0.0.1:5000/v2"},
		{&Client{PlainHTTP: true}, "lab:5000/a", "http://lab:5000/v2 https://lab:5000/v2"},
		{&Client{SkipTLSVerify: true}, "lab:5000/a", "https://lab:5000/v2 http://lab:5000/v2"},
		{&Client{}, "oci:dir", ""},
	} {
		ref, err := ParseReference(test.name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		test.client.HostsDirs = []string{} // none
		endpoints, err := test.client.Endpoints(ref)
		if err != nil {
			t.Error(err)
		}
		for _, e := range endpoints {
			got = append(got, e.URLs...)
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: %s, expected %s", test.name, got, test.want)
		}
	}
}

// TestEndpointsOfHosts has what a hosts.toml says of mirrors and certificates.
func TestEndpointsOfHosts(t *testing.T) {
	ca, client := testcert.New(t), t.TempDir()
	root := t.TempDir()
	host := filepath.Join(root, "lab:5000")
	cert, key := ca.Pair("client")
	for name, data := range map[string][]byte{"c.cert": cert, "c.key": key, "ca.crt": ca.PEM} {
		writeFile(t, filepath.Join(client, name), data)
	}
	writeFile(t, filepath.Join(host, "hosts.toml"), []byte(`
server = "https://lab:5000"
[host."http://near:5001/base"]
  capabilities = ["pull"]
[host."https://names:5002"]
  capabilities = ["resolve"]
[host."https://far/v2"]
  ca = "`+filepath.Join(client, "ca.crt")+`"
  client = [["`+filepath.Join(client, "c.cert")+`", "`+filepath.Join(client, "c.key")+`"]]
  skip_verify = true
  header = {X-Key = "secret", Accept-Language = ["de"]}
`))
	ref, err := ParseReference("lab:5000/app")
	if err != nil {
		t.Fatal(err)
	}
	got, err := (&Client{HostsDirs: []string{root}, CertDirs: []string{client}}).Endpoints(ref)
	if err != nil {
		t.Fatal(err)
	}
	pair := []CertFiles{{Cert: filepath.Join(client, "c.cert"), Key: filepath.Join(client, "c.key")}}
	crt := filepath.Join(client, "ca.crt")
	want := []Endpoint{
		{URLs: []string{"http://near:5001/base/v2"}, Mirror: true, Namespace: "lab:5000", Authorities: []string{crt}},
		{
			URLs: []string{"https://far/v2"}, Mirror: true, Namespace: "lab:5000", Authorities: []string{crt, crt},
			ClientCerts: pair, SkipVerify: true, Headers: []string{"Accept-Language", "X-Key"},
		},
		{URLs: []string{"https://lab:5000/v2"}, Authorities: []string{crt}, ClientCerts: pair},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
