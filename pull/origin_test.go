package pull_test

import (
	"strings"
	"testing"

	"github.com/byhand/byhand/pull"
)

func TestOrigins(t *testing.T) {
	for _, test := range []struct {
		client *pull.Client
		name   string
		want   string
	}{
		{&pull.Client{}, "alpine", "https://registry-1.docker.io"},
		{&pull.Client{PlainHTTP: true}, "alpine", "https://registry-1.docker.io"},
		{&pull.Client{}, "quay.io/a/b", "https://quay.io"},
		{&pull.Client{}, "127.0.0.1:5000/a", "https://127.0.0.1:5000 http://127.0.0.1:5000"},
		{&pull.Client{PlainHTTP: true}, "lab:5000/a", "http://lab:5000 https://lab:5000"},
		{&pull.Client{SkipTLSVerify: true}, "lab:5000/a", "https://lab:5000 http://lab:5000"},
		{&pull.Client{}, "oci:dir", ""},
	} {
		ref, err := pull.ParseReference(test.name)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(test.client.Origins(ref), " "); got != test.want {
			t.Errorf("%s: %s, expected %s", test.name, got, test.want)
		}
	}
}
