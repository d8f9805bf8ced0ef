package pull

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tlsFiles is where the certificates for one endpoint are.
type tlsFiles struct {
	ca         []string  // files that must be readable
	pairs      []keyPair // likewise
	dirs       []string  // *.crt, *.cert with *.key; may be absent
	caDirs     []string  // only their *.crt
	skipVerify bool
}

// keyPair names the files of a client certificate and its key, in PEM.
type keyPair struct{ cert, key string }

// certDirName is the name of a host's directory in Docker's and podman's trees.
// They key Docker Hub as docker.io.
func certDirName(host string) string {
	if host == dockerHubHost {
		return dockerHub
	}
	return host
}

// certDirs returns where Docker and podman keep certificates for a host.
func certDirs(host string) []string {
	roots := []string{"/etc/docker/certs.d", "/etc/containers/certs.d"}
	if home, err := os.UserHomeDir(); err == nil {
		roots = append(roots,
			filepath.Join(home, ".config/containers/certs.d"),
			filepath.Join(home, ".docker/certs.d"))
	}
	dirs := make([]string, len(roots))
	for i, r := range roots {
		dirs[i] = filepath.Join(r, host)
	}
	return dirs
}

// load reads the certificates. What is wrong goes to warn, and the rest is
// used: a server that needs what is missing will say so.
//
// It also returns the files whose authorities are trusted besides the system's.
func (f tlsFiles) load(warn func(error)) (*tls.Config, []string) {
	l := f.read(warn)
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            l.roots, // nil: the system's
		Certificates:       l.certs,
		InsecureSkipVerify: f.skipVerify, // what --tls-verify=false and skip_verify ask for
	}, l.files
}

// read reads the certificates.
func (f tlsFiles) read(warn func(error)) *certLoader {
	l := &certLoader{warn: warn}
	for _, file := range f.ca {
		l.addCA(file)
	}
	for _, p := range f.pairs {
		l.addPair(p)
	}
	for _, dir := range f.dirs {
		l.addDir(dir, true)
	}
	for _, dir := range f.caDirs {
		l.addDir(dir, false)
	}
	return l
}

type certLoader struct {
	warn  func(error)
	roots *x509.CertPool
	files []string // that roots came from
	certs []tls.Certificate
	pairs []keyPair // that certs came from
}

func (l *certLoader) addCA(file string) {
	pem, err := readConfigFile(file)
	if err != nil {
		l.warn(&configError{File: file, Err: err})
		return
	}
	if l.roots == nil {
		if l.roots, err = x509.SystemCertPool(); err != nil {
			l.roots = x509.NewCertPool()
		}
	}
	if !l.roots.AppendCertsFromPEM(pem) {
		l.warn(&configError{File: file, Err: errors.New("no PEM certificate in it")})
		return
	}
	l.files = append(l.files, file)
}

func (l *certLoader) addPair(p keyPair) {
	// The files are read one by one so that the message names the right one.
	cert, err := readConfigFile(p.cert)
	if err != nil {
		l.warn(&configError{File: p.cert, Err: err})
		return
	}
	key, err := readConfigFile(p.key)
	if err != nil {
		l.warn(&configError{File: p.key, Err: err})
		return
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		l.warn(&configError{File: p.cert, Err: errors.New("the certificate and its key do not fit together")})
		return
	}
	l.certs, l.pairs = append(l.certs, pair), append(l.pairs, p)
}

// addDir reads a directory in Docker's layout: *.crt are authorities, *.cert
// are client certificates whose keys are beside them in *.key.
func (l *certLoader) addDir(dir string, clients bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.warn(&configError{File: dir, Err: err})
		}
		return
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		switch ext := filepath.Ext(file); {
		case ext == ".crt":
			l.addCA(file)
		case ext == ".cert" && clients:
			key := strings.TrimSuffix(file, ".cert") + ".key"
			if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
				l.warn(&configError{File: file, Err: fmt.Errorf("its key %s is not there; authorities are named *.crt", filepath.Base(key))})
				continue
			}
			l.addPair(keyPair{cert: file, key: key})
		}
	}
}
