package testimages

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testdaemon"
	"github.com/byhand/byhand/internal/testneed"
)

// RegistryOptions of a real registry; the zero value is plain HTTP for all.
type RegistryOptions struct {
	// Username and Password, if set, are asked for by Basic authentication.
	Username, Password string
	TLS                bool
}

// Registry is Debian's docker-registry, running for one test.
type Registry struct {
	RegistryOptions
	Addr   string // host:port
	CADir  string // with TLS: a directory with the CA as ca.crt, as certs.d has it
	CAFile string
}

// StartRegistry runs docker-registry on a free loopback port, with an empty
// store of its own, until the test ends.
func StartRegistry(t testing.TB, o RegistryOptions) Registry {
	t.Helper()
	testneed.Tool(t, "docker-registry")
	dir := t.TempDir()
	r := Registry{RegistryOptions: o}
	config := "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n" +
		"storage: {filesystem: {rootdirectory: " + filepath.Join(dir, "store") + "}}\n" +
		"http:\n  addr: ADDR\n"
	if o.TLS {
		r.CADir = filepath.Join(dir, "ca")
		r.CAFile = filepath.Join(r.CADir, "ca.crt")
		certificate(t, dir, r.CAFile)
		config += fmt.Sprintf("  tls: {certificate: %s/cert.pem, key: %s/key.pem}\n", dir, dir)
	}
	if o.Username != "" {
		testneed.Tool(t, "htpasswd")
		name := filepath.Join(dir, "htpasswd")
		cmd := exec.CommandContext(t.Context(), "htpasswd", "-iBc", name, o.Username)
		cmd.Stdin = strings.NewReader(o.Password)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("htpasswd: %v: %s", err, out)
		}
		config += "auth: {htpasswd: {realm: test, path: " + name + "}}\n"
	}
	name := filepath.Join(dir, "config.yml")
	r.Addr = testdaemon.Start(t, func(addr string) *exec.Cmd {
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(config, "ADDR", addr)), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command("docker-registry", "serve", name)
	}).Addr
	return r
}

// Push copies an image of an OCI layout, with all its platforms, to
// NAME:TAG in the registry and returns the reference to pull it by.
func (r Registry) Push(t testing.TB, layoutDir, tag, name string) string {
	t.Helper()
	testneed.Tool(t, "skopeo")
	ref := r.Addr + "/" + name
	args := []string{"copy", "--insecure-policy", "--quiet", "--all"}
	if r.TLS {
		args = append(args, "--dest-cert-dir", r.CADir)
	} else {
		args = append(args, "--dest-tls-verify=false")
	}
	if r.Username != "" {
		args = append(args, "--dest-creds", r.Username+":"+r.Password)
	}
	args = append(args, "oci:"+layoutDir+":"+tag, "docker://"+ref)
	cmd := exec.CommandContext(t.Context(), "skopeo", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("push %s: %v: %s", ref, err, out)
	}
	return ref
}

// certificate writes a CA and a server certificate by it for loopback names.
func certificate(t testing.TB, dir, caFile string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(caFile), 0o755); err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "byhand test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	caKey, serverKey := newKey(t), newKey(t)
	writePEM(t, caFile, "CERTIFICATE", sign(t, ca, ca, caKey, caKey))
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", sign(t, server, ca, serverKey, caKey))
	raw, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", raw)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, cert, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	raw, err := x509.CreateCertificate(rand.Reader, cert, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func writePEM(t testing.TB, name, kind string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}
