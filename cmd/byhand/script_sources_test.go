package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testcert"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
)

// TestScriptSources has a script of an image whose registry wants a client
// certificate, sends to another host for a layer, and has mirrors: one that is
// not there, one that delivers other bytes and wants a token, one without TLS.
func TestScriptSources(t *testing.T) {
	testneed.Root(t) // an ordinary user's command runs in another process
	testneed.Tool(t, "curl", "jq", "setfattr", "shellcheck")
	ca := testcert.New(t)
	strangers := ca.Server(false)
	strangers.ClientAuth = tls.RequestClientCert
	var shown atomic.Bool
	strangers.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) > 0 {
			shown.Store(true)
		}
		return nil
	}
	storage := testregistry.New(t, testregistry.Options{TLS: true, Config: strangers})
	wrong := testregistry.New(t, testregistry.Options{TLS: true, Config: ca.Server(false), Auth: testregistry.Auth{Token: true}})
	plain := testregistry.New(t, testregistry.Options{Prefix: "/deep/v2"})
	origin := testregistry.New(t, testregistry.Options{TLS: true, Config: ca.Server(true), Auth: testregistry.Auth{Basic: true, Username: "jo", Password: "s3cret"}})
	var layers []ocispec.Descriptor
	var diffs []digest.Digest
	for i, name := range []string{"one", "two", "three"} {
		tar := testtar.Tar(testtar.File(name, name))
		for _, r := range []*testregistry.Registry{origin, storage, wrong, plain} {
			if r != plain || i == 1 { // which has the second layer alone
				d := r.AddBlob("app", tar)
				d.MediaType = ocispec.MediaTypeImageLayer
				if r == origin {
					layers, diffs = append(layers, d), append(diffs, d.Digest)
				}
			}
		}
	}
	for _, r := range []*testregistry.Registry{origin, wrong} {
		r.AddImage("app", "v1", layers, diffs)
	}
	wrong.Fault("/blobs/"+layers[1].Digest.String(), testregistry.Fault{Flip: new(int64(600))})
	wrong.Fault("/blobs/"+layers[2].Digest.String(), testregistry.Fault{Status: http.StatusNotFound})
	origin.Fault("/blobs/"+layers[2].Digest.String(), testregistry.Fault{Redirect: storage.Server.URL + "%s"})

	dir := t.TempDir()
	certs, hosts := filepath.Join(dir, "it's: mine"), filepath.Join(dir, "hosts", origin.Host())
	for _, d := range []string{certs, hosts} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := ca.Pair("client")
	toml := fmt.Sprintf("server = %q\nclient = [[%q, %q]]\nca = %q\n[host.\"https://127.0.0.1:1\"]\n[host.%q]\nca = %q\n[host.%q]\n",
		origin.Server.URL, filepath.Join(certs, "c.cert"), filepath.Join(certs, "c.key"), filepath.Join(certs, "ca.crt"),
		wrong.Server.URL, filepath.Join(certs, "ca.crt"), plain.Server.URL+"/deep")
	for name, data := range map[string]string{
		filepath.Join(certs, "c.cert"): string(cert), filepath.Join(certs, "c.key"): string(key), filepath.Join(certs, "ca.crt"): string(ca.PEM),
		filepath.Join(hosts, "hosts.toml"): toml,
	} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script, log, code := command(t, "--store", filepath.Join(dir, "store"), "--hosts-dir", filepath.Dir(hosts), "--limit", "base=1ms", "--creds", "jo:s3cret",
		"script", "--rootfs", "flat", "--entrypoint", "/one", origin.Repo("app")+":v1", filepath.Join(dir, "box"))
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, log)
	}
	if strings.Contains(script, "s3cret") || strings.Contains(script, string(key)) {
		t.Error("a secret is in the script")
	}
	file := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "shellcheck", "--shell", "sh", file).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
	shown.Store(false)
	for _, shell := range []string{"dash", "bash"} {
		before := origin.Count("/blobs/")
		cmd := exec.CommandContext(t.Context(), shell, file)
		cmd.Env = append(os.Environ(), "REGISTRY_USER=jo", "REGISTRY_PASSWORD=s3cret", "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v:\n%s\n%s", shell, err, out, script)
		}
		for _, name := range []string{"one", "two", "three"} {
			if got, err := os.ReadFile(filepath.Join(dir, "box", "rootfs", name)); err != nil || string(got) != name {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		// The layer that the mirrors do not have, asked for without and with a login.
		if got := origin.Count("/blobs/") - before; got != 2 {
			t.Errorf("%s: the registry was asked for %d blobs:\n%s", shell, got, out)
		}
		if n := strings.Count(string(out), "https://127.0.0.1:1/"); n != 1 {
			t.Errorf("%s: the mirror that is not there was tried %d times:\n%s", shell, n, out)
		}
		if !strings.Contains(string(out), "is something else; asking the next source") || !strings.Contains(string(out), "layer 2: sha256:") {
			t.Errorf("%s: wrong bytes were not noticed:\n%s", shell, out)
		}
		if err := os.Rename(filepath.Join(dir, "box"), filepath.Join(dir, "box-"+shell)); err != nil {
			t.Fatal(err)
		}
	}
	if shown.Load() {
		t.Error("the client certificate was shown to a host that was only redirected to")
	}
	for _, r := range []*testregistry.Registry{wrong, plain, storage} {
		for _, q := range r.Requests() {
			if user, _, ok := (&http.Request{Header: q.Header}).BasicAuth(); ok {
				t.Errorf("%s got the login of %s", r.Host(), user)
			}
			if r != storage && q.Query.Get("ns") != origin.Host() && q.Path != "/token" {
				t.Errorf("%s: %s without the parameter ns", r.Host(), q.Path)
			}
		}
	}
	if wrong.Count("/token") == 0 || plain.Count("/blobs/") == 0 || storage.Count("/blobs/") == 0 {
		t.Error("not all sources were asked: the test tests nothing")
	}
}
