package logins_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/logins"
)

// places has one directory for each variable that credential files are found by.
type places struct {
	dir string
	env map[string]string
}

func newPlaces(t *testing.T) places {
	t.Helper()
	p := places{dir: t.TempDir(), env: map[string]string{}}
	p.env["HOME"] = filepath.Join(p.dir, "home")
	p.env["XDG_RUNTIME_DIR"] = filepath.Join(p.dir, "run")
	return p
}

func (p places) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p places) getenv(name string) string { return p.env[name] }

// authFile is a credential file in which the password is the user's name with
// "-pw" behind it.
func authFile(userByKey map[string]string) string {
	var list []string
	for k, u := range userByKey {
		list = append(list, fmt.Sprintf("%q: {\"auth\": %q}", k, base64.StdEncoding.EncodeToString([]byte(u+":"+u+"-pw"))))
	}
	return `{"auths": {` + strings.Join(list, ", ") + `}}`
}

// TestOrder removes one source after the other, and sees the next one count.
func TestOrder(t *testing.T) {
	p := newPlaces(t)
	one := func(user string) string { return authFile(map[string]string{"r.test": user}) }
	f := logins.Finder{
		Explicit: &logins.Login{Username: "explicit", Password: "explicit-pw"}, Host: "r.test",
		AuthFile: p.write(t, "flag.json", one("flag")), Getenv: p.getenv,
	}
	p.env["REGISTRY_AUTH_FILE"] = p.write(t, "env.json", one("env"))
	files := []string{
		p.write(t, "run/containers/auth.json", one("runtime")),
		p.write(t, "home/.config/containers/auth.json", one("podman")),
		p.write(t, "home/.docker/config.json", one("docker")),
	}
	check := func(user string) {
		t.Helper()
		l, source, err := f.Find(t.Context(), "r.test/org/app")
		if l.Username != user || err != nil {
			t.Errorf("got %q from %s, error %v; want %q", l.Username, source, err, user)
		}
		if l.Username != "" && l.Password != user+"-pw" {
			t.Errorf("the password is another user's")
		}
	}
	check("explicit")
	f.Explicit = nil
	check("flag")
	f.AuthFile = ""
	check("env")
	delete(p.env, "REGISTRY_AUTH_FILE")
	for i, user := range []string{"runtime", "podman", "docker"} {
		check(user)
		if err := os.Remove(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	check("")
	p.env["DOCKER_CONFIG"] = filepath.Join(p.dir, "elsewhere")
	p.write(t, "elsewhere/config.json", one("configured"))
	check("configured")
}

// TestExplicitHost: a login from the command line is for one registry only.
func TestExplicitHost(t *testing.T) {
	f := logins.Finder{Explicit: &logins.Login{Username: "jo"}, Host: "docker.io", Getenv: newPlaces(t).getenv}
	for repository, want := range map[string]string{"docker.io/library/x": "jo", "mirror.test/library/x": "", "docker.io.evil.test/x": ""} {
		if l, _, err := f.Find(t.Context(), repository); l.Username != want || err != nil {
			t.Errorf("%s: got %q, error %v; want %q", repository, l.Username, err, want)
		}
	}
}

func TestKeys(t *testing.T) {
	tests := map[string]struct {
		keys       map[string]string
		repository string
		want       string
	}{
		"host":               {map[string]string{"quay.io": "a"}, "quay.io/org/app", "a"},
		"most specific":      {map[string]string{"quay.io": "a", "quay.io/org": "b", "quay.io/org/app": "c"}, "quay.io/org/app", "c"},
		"namespace":          {map[string]string{"quay.io": "a", "quay.io/org": "b"}, "quay.io/org/other", "b"},
		"not a namespace":    {map[string]string{"quay.io/or": "a"}, "quay.io/org/app", ""},
		"port counts":        {map[string]string{"h:5000": "a"}, "h:5001/x", ""},
		"no prefix of names": {map[string]string{"quay.io": "a"}, "quay.io.evil.test/x", ""},
		"docker's own key":   {map[string]string{"https://index.docker.io/v1/": "a"}, "docker.io/library/x", "a"},
		"docker.io":          {map[string]string{"docker.io": "a"}, "docker.io/library/x", "a"},
		"docker's namespace": {map[string]string{"docker.io": "a", "docker.io/org": "b"}, "docker.io/org/x", "b"},
		"an address":         {map[string]string{"https://h:5000": "a"}, "h:5000/x", "a"},
		"an old address":     {map[string]string{"http://h/v1/": "a"}, "h/x", "a"},
		"other hosts":        {map[string]string{"docker.io": "a", "ghcr.io": "b"}, "quay.io/x", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t)
			f := logins.Finder{AuthFile: p.write(t, "auth.json", authFile(tt.keys)), Getenv: p.getenv}
			if l, source, err := f.Find(t.Context(), tt.repository); l.Username != tt.want || err != nil {
				t.Errorf("got %q (%s), error %v; want %q", l.Username, source, err, tt.want)
			}
		})
	}
}

// TestSameHost has several keys for one host, of which always the same counts.
func TestSameHost(t *testing.T) {
	p := newPlaces(t)
	const hub = "https://index.docker.io/v1/"
	f := logins.Finder{AuthFile: p.write(t, "auth.json", authFile(map[string]string{
		hub + "refresh-token": "c", hub + "access-token": "b", hub: "a",
	})), Getenv: p.getenv}
	for range 50 {
		if l, _, err := f.Find(t.Context(), "docker.io/library/x"); l.Username != "a" || err != nil {
			t.Fatalf("got %q, error %v; want a", l.Username, err)
		}
	}
}

func TestForms(t *testing.T) {
	tests := map[string]struct {
		text string
		want logins.Login
		fail string // part of the error
	}{
		"plain fields":     {text: `{"auths":{"h":{"username":"u","password":"p"}}}`, want: logins.Login{Username: "u", Password: "p"}},
		"identity token":   {text: `{"auths":{"h":{"auth":"PHRva2VuPjo=","identitytoken":"t"}}}`, want: logins.Login{IdentityToken: "t"}},
		"password with :":  {text: `{"auths":{"h":{"auth":"dTphOmI="}}}`, want: logins.Login{Username: "u", Password: "a:b"}},
		"empty entry":      {text: `{"auths":{"h":{}}}`},
		"empty file":       {text: " \n"},
		"empty object":     {text: "{}"},
		"not base64":       {text: `{"auths":{"h":{"auth":"hunter2!"}}}`, fail: "base64"},
		"no colon":         {text: `{"auths":{"h":{"auth":"aHVudGVyMg=="}}}`, fail: "USER:PASSWORD"},
		"not JSON":         {text: `hunter2`, fail: "not the JSON"},
		"JSON of a kind":   {text: `{"auths":["hunter2"]}`, fail: "not the JSON"},
		"a truncated file": {text: `{"auths":{"h":{"auth":"hunter2`, fail: "not the JSON"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t)
			f := logins.Finder{AuthFile: p.write(t, "auth.json", tt.text), Getenv: p.getenv}
			l, source, err := f.Find(t.Context(), "h/app")
			if l != tt.want {
				t.Errorf("got another login from %s", source)
			}
			if (err != nil) != (tt.fail != "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("error %v, want %q", err, tt.fail)
			}
			if strings.Contains(fmt.Sprint(err, source), "hunter2") {
				t.Errorf("a secret is in %v, %s", err, source)
			}
		})
	}
}

// TestBrokenFirst goes on behind a broken file.
func TestBrokenFirst(t *testing.T) {
	p := newPlaces(t)
	p.write(t, "run/containers/auth.json", "broken")
	p.write(t, "home/.config/containers/auth.json", `{"auths":{"h":{"auth":"?"}}}`)
	p.write(t, "home/.docker/config.json", authFile(map[string]string{"h": "jo"}))
	l, source, err := logins.Finder{Getenv: p.getenv}.Find(t.Context(), "h/app")
	if l.Username != "jo" || !strings.HasSuffix(source, "config.json") {
		t.Errorf("got %q from %s", l.Username, source)
	}
	for _, part := range []string{".config/containers/auth.json", "run/containers/auth.json"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not name %s", err, part)
		}
	}
}

// TestNamedAlone has a login where it would be looked for if no file were
// named.
func TestNamedAlone(t *testing.T) {
	p := newPlaces(t)
	p.write(t, "home/.docker/config.json", authFile(map[string]string{"h": "jo"}))
	named := map[string]string{
		"without a login": p.write(t, "none.json", "{}"),
		"broken":          p.write(t, "broken.json", "broken"),
		"missing":         filepath.Join(p.dir, "missing.json"),
	}
	for what, file := range named {
		for _, by := range []string{"option", "environment"} {
			f := logins.Finder{Getenv: p.getenv}
			delete(p.env, "REGISTRY_AUTH_FILE")
			if by == "option" {
				f.AuthFile = file
			} else {
				p.env["REGISTRY_AUTH_FILE"] = file
			}
			l, source, err := f.Find(t.Context(), "h/app")
			if l != (logins.Login{}) || (err != nil) != (what != "without a login") {
				t.Errorf("file %s, by %s: got %q from %s, error %v", what, by, l.Username, source, err)
			}
			if strings.Contains(source, "config.json") || strings.Contains(source, "looked for") {
				t.Errorf("file %s, by %s: source %q", what, by, source)
			}
		}
	}
}

func TestHelpers(t *testing.T) {
	p := newPlaces(t)
	bin := filepath.Join(p.dir, "bin")
	script := func(name, body string) {
		path := p.write(t, "bin/docker-credential-"+name, "#!/bin/sh\nread key\n"+body+"\n")
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script("good", `echo "{\"ServerURL\":\"$key\",\"Username\":\"$key\",\"Secret\":\"hunter2\"}"`)
	script("token", `echo '{"Username":"<token>","Secret":"hunter2"}'`)
	script("hub", `case $key in https://index.docker.io/v1/) echo '{"Username":"hub","Secret":"hunter2"}';; *) echo "credentials not found in native keychain"; exit 1;; esac`)
	script("none", `echo "credentials not found in native keychain"; exit 1`)
	script("broken", `echo "hunter2 is the password"; exit 3`)
	script("garbled", `echo "hunter2"`)
	script("endless", `while echo hunter2hunter2hunter2; do :; done`)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	tests := map[string]struct {
		text       string
		repository string
		want       logins.Login
		fail       string
	}{
		"store":                 {text: `{"credsStore":"good"}`, want: logins.Login{Username: "h:5000", Password: "hunter2"}},
		"store with a token":    {text: `{"credsStore":"token"}`, want: logins.Login{IdentityToken: "hunter2"}},
		"store, Docker Hub":     {text: `{"credsStore":"hub"}`, repository: "docker.io/library/x", want: logins.Login{Username: "hub", Password: "hunter2"}},
		"store without a login": {text: `{"credsStore":"none"}`},
		"for the host":          {text: `{"credHelpers":{"h:5000":"token"},"credsStore":"good"}`, want: logins.Login{IdentityToken: "hunter2"}},
		"for another host":      {text: `{"credHelpers":{"x":"good"}}`},
		"entry before store":    {text: `{"auths":{"h:5000":{"username":"u","password":"p"}},"credsStore":"good"}`, want: logins.Login{Username: "u", Password: "p"}},
		"missing":               {text: `{"credsStore":"missing"}`, fail: "docker-credential-missing: not on PATH"},
		"broken":                {text: `{"credsStore":"broken"}`, fail: "docker-credential-broken"},
		"garbled":               {text: `{"credsStore":"garbled"}`, fail: "docker-credential-garbled"},
		"endless":               {text: `{"credsStore":"endless"}`, fail: "docker-credential-endless"},
		"path":                  {text: `{"credsStore":"../../evil"}`, fail: "not the name"},
		"broken for the host":   {text: `{"credHelpers":{"h:5000":"broken"},"auths":{"h:5000":{"username":"u","password":"p"}}}`, want: logins.Login{Username: "u", Password: "p"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := logins.Finder{AuthFile: p.write(t, strings.ReplaceAll(name, " ", "-")+".json", tt.text), Getenv: p.getenv}
			repository := tt.repository
			if repository == "" {
				repository = "h:5000/org/app"
			}
			l, source, err := f.Find(t.Context(), repository)
			if l != tt.want {
				t.Errorf("got %q from %s", l.Username, source)
			}
			if (err != nil) != (tt.fail != "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("error %v, want %q", err, tt.fail)
			}
			if s := fmt.Sprintf("%v %s %v %+v %#v", err, source, l, l, l); strings.Contains(s, "hunter2") {
				t.Errorf("a secret is in %s", s)
			}
		})
	}
}

func TestHelperCancel(t *testing.T) {
	p := newPlaces(t)
	path := p.write(t, "bin/docker-credential-slow", "#!/bin/sh\nexec sleep 60\n")
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(path)+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := logins.Finder{AuthFile: p.write(t, "a.json", `{"credsStore":"slow"}`), Getenv: p.getenv}
	if _, _, err := f.Find(ctx, "h/x"); err == nil {
		t.Error("no error")
	}
}

// FuzzAuthFile: a file never yields a login for a host that is not in it.
func FuzzAuthFile(f *testing.F) {
	f.Add([]byte(authFile(map[string]string{"quay.io": "u"})))
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"identitytoken":"x"}}}`))
	f.Add([]byte(`{"auths":{"":{"username":"u"},"/":{"username":"u"}}}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(strings.ToLower(string(data)), "cred") {
			return // names a program to run
		}
		path := filepath.Join(dir, "auth.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, _, _ := logins.Finder{AuthFile: path, Getenv: func(string) string { return "" }}.Find(t.Context(), "never.test/app")
		if l != (logins.Login{}) && !strings.Contains(string(data), "never") && !strings.Contains(string(data), `\u`) {
			t.Errorf("a login for never.test from %q", data)
		}
	})
}

func ExampleFinder() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "auth.json")
	text := `{"auths": {"quay.io/org": {"auth": "am86c2VjcmV0"}}}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		panic(err)
	}
	login, source, err := logins.Finder{AuthFile: file}.Find(context.Background(), "quay.io/org/app")
	fmt.Println(login.Username, filepath.Base(source), err)
	fmt.Println(login)
	// Output:
	// jo auth.json <nil>
	// login(redacted)
}

// TestWhose looks in the runtime directory of the user outside a user
// namespace, where XDG_RUNTIME_DIR does not name it.
func TestWhose(t *testing.T) {
	p := newPlaces(t)
	delete(p.env, "XDG_RUNTIME_DIR")
	f := logins.Finder{UID: func() int { return 4242 }, Getenv: p.getenv}
	_, source, err := f.Find(t.Context(), "r.test/app")
	if want := "/run/containers/4242/auth.json"; !strings.Contains(source, want) || err != nil {
		t.Errorf("looked for %q, error %v; want %s among it", source, err, want)
	}
}
