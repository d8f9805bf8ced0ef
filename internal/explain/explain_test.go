package explain_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/explain"
	"github.com/byhand/byhand/pull"
)

func Example() {
	w := explain.NewWriter(os.Stdout, explain.Options{})
	step := w.Put(explain.Event{Kind: "request", Layer: 2, Title: "GET http://localhost:5000/v2/app/blobs/sha256:2cf2…"})
	w.Put(explain.Event{
		Kind: "response", Step: step, Title: "< HTTP/1.1 200 OK",
		Facts: []explain.Fact{{Name: "received", Value: explain.Headers{Mark: "<", List: []explain.Header{{Name: "Content-Length", Value: "10"}}}}},
		Shell: []string{"curl -sSfL -o layer2.tar http://localhost:5000/v2/app/blobs/sha256:2cf2"},
	})
	// Output:
	// # What does not begin with # does the same by hand, in an empty directory.
	//
	// # 1. layer 2: GET http://localhost:5000/v2/app/blobs/sha256:2cf2…
	// #    < HTTP/1.1 200 OK
	// #    < Content-Length: 10
	// curl -sSfL -o layer2.tar http://localhost:5000/v2/app/blobs/sha256:2cf2
}

func put(o explain.Options, events ...explain.Event) string {
	var b bytes.Buffer
	w := explain.NewWriter(&b, o)
	for _, e := range events {
		w.Put(e)
	}
	return b.String()
}

// TestResume takes a step up again after another one.
func TestResume(t *testing.T) {
	got := put(explain.Options{},
		explain.Event{Title: "ask for a"}, explain.Event{Title: "ask for b"},
		explain.Event{Step: 1, Resume: "ask for a", Title: "got a", Layer: 3}, explain.Event{Step: 1, Resume: "ask for a", Title: "more of a"},
		explain.Event{Kind: "message", Title: "byhand: warning: beware"}, explain.Event{Title: "the end"},
	)
	want := `# What does not begin with # does the same by hand, in an empty directory.

# 1. ask for a

# 2. ask for b

# 1. layer 3: ask for a
#    got a
#    more of a
# byhand: warning: beware

# 3. the end
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestColor has colours only where they are asked for, and every line ends as it
// began.
func TestColor(t *testing.T) {
	e := explain.Event{Title: "a title " + strings.Repeat("that is long ", 10), Bad: true, Notes: []string{"a note"}, Shell: []string{"true"}}
	if plain := put(explain.Options{}, e); strings.Contains(plain, "\x1b") {
		t.Errorf("colours: %q", plain)
	}
	for line := range strings.Lines(put(explain.Options{Color: true}, e)) {
		if line != "\n" && (!strings.HasPrefix(line, "\x1b[") || !strings.HasSuffix(line, "\x1b[0m\n")) {
			t.Errorf("line %q", line)
		}
	}
}

// FuzzEvent has foreign text in every part of an event: the transcript's lines
// fit, are comments, and hold nothing that a terminal acts on; the JSON reads
// back as what was put in.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[31m\nrm -rf /", strings.Repeat("x", 300), "\u202e\xff\u009b", "a\tb\r\nc " + strings.Repeat("ö/", 90)} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		e := explain.Event{
			Kind: "request", Layer: 7, Title: a, Notes: []string{b}, Facts: []explain.Fact{
				{Name: "one", Value: b},
				{Name: "two", Value: []string{a, b}},
				{Name: "three", Value: explain.Headers{Mark: ">", List: []explain.Header{{Name: a, Value: b}}}},
			},
		}
		for line := range strings.Lines(put(explain.Options{}, e)) {
			line = strings.TrimSuffix(line, "\n")
			if line != "" && line[0] != '#' {
				t.Errorf("not a comment: %q", line)
			}
			if n := utf8.RuneCountInString(line); n > explain.Width {
				t.Errorf("%d columns: %q", n, line)
			}
			checkLine(t, line)
		}
		raw := put(explain.Options{JSON: true}, e)
		checkLine(t, strings.TrimSuffix(raw, "\n"))
		var back struct {
			Title string
			Notes []string
		}
		if err := json.Unmarshal([]byte(raw), &back); err != nil {
			t.Fatal(err)
		}
		if utf8.ValidString(a) && back.Title != a {
			t.Errorf("the title %q came back as %q", a, back.Title)
		}
	})
}

func checkLine(t *testing.T, line string) {
	t.Helper()
	if !utf8.ValidString(line) || strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		t.Errorf("a terminal acts on %q", line)
	}
}

// TestCommands shows the command for each way to ask.
func TestCommands(t *testing.T) {
	const address = "https://r.example/v2/app/"
	d := digest.FromString("blob")
	bearer := pull.Header{Name: "Authorization", Value: "Bearer <redacted>"}
	basic := pull.Header{Name: "Authorization", Value: "Basic <redacted>"}
	tests := map[string]struct {
		x    pull.Exchange
		want []string
	}{
		"blob":      {pull.Exchange{URL: address + "blobs/b", Digest: d, Status: 200, Sent: []pull.Header{bearer}}, []string{`curl -sSfL -H "Authorization: Bearer $TOKEN" -o image-config.json ` + address + "blobs/b"}},
		"index":     {pull.Exchange{URL: address + "manifests/v1", Status: 200, Received: []pull.Header{{Name: "Content-Type", Value: "application/vnd.oci.image.index.v1+json"}}}, []string{"curl -sSfL -o index.json " + address + "manifests/v1"}},
		"redirect":  {pull.Exchange{URL: address + "blobs/b", Digest: d, Status: 307}, []string{"curl -sSfL -o image-config.json " + address + "blobs/b"}},
		"hop":       {pull.Exchange{URL: "https://cdn.example/b?…", Digest: d, Status: 200, Hop: 1, Elsewhere: true, Hidden: true}, nil},
		"signed":    {pull.Exchange{URL: "https://cdn.example/b?…", Digest: d, Status: 200, Hidden: true}, nil},
		"401":       {pull.Exchange{URL: address + "manifests/v1", Status: 401}, []string{"curl -sS -D - -o /dev/null " + address + "manifests/v1"}},
		"no answer": {pull.Exchange{URL: address + "manifests/v1", Failure: "refused"}, []string{"curl -v -o /dev/null " + address + "manifests/v1"}},
		"token": {
			pull.Exchange{URL: address + "token?scope=s&…", Token: true, Status: 200, Hidden: true, Sent: []pull.Header{basic}},
			[]string{`TOKEN=$(curl -sSf -u "${LOGIN:?set it to USER:PASSWORD}" '` + address + `token?scope=s' | jq -r '.token // .access_token')`},
		},
		"identity": {
			pull.Exchange{Method: "POST", URL: address + "token", Token: true, Status: 200, Form: []pull.Header{{Name: "grant_type", Value: "refresh_token"}, {Name: "refresh_token", Value: "<redacted>"}}},
			[]string{`TOKEN=$(curl -sSf --data-urlencode grant_type=refresh_token --data-urlencode "refresh_token=${REFRESH_TOKEN:?set it to the identity token}" ` + address + `token | jq -r '.token // .access_token')`},
		},
		"configured": {
			pull.Exchange{URL: address + "blobs/b", Digest: d, Status: 200, Sent: []pull.Header{{Name: "X-Key", Value: "<redacted>"}}},
			[]string{`curl -sSf -H "X-Key: ${H_X_KEY:?set it to the header}" -o image-config.json ` + address + "blobs/b"},
		},
		"tls": {
			pull.Exchange{URL: address + "tags/list", Status: 200, Insecure: true, Authorities: []string{"/etc/my ca.crt"}},
			[]string{"curl -sSfL -k --cacert '/etc/my ca.crt' " + address + "tags/list | jq -r '.tags[]'"},
		},
	}
	for name, tt := range tests {
		var b bytes.Buffer
		n := explain.New(explain.NewWriter(&b, explain.Options{JSON: true}))
		tt.x.Number = 1
		if tt.x.Method == "" {
			tt.x.Method = "GET"
		}
		n.Pull(pull.Event{Kind: pull.EventRequest, Exchange: &tt.x})
		n.Pull(pull.Event{Kind: pull.EventResponse, Exchange: &tt.x})
		var got struct {
			Step  int
			Shell []string
		}
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got.Shell); diff != "" || got.Step != 1 {
			t.Errorf("%s: step %d (-want +got):\n%s", name, got.Step, diff)
		}
	}
}

// TestNil has a narrator that nobody asked for do nothing.
func TestNil(*testing.T) {
	var n *explain.Narrator
	n.Pull(pull.Event{Kind: pull.EventRequest})
	n.Say("nothing")
	n.Did("store", "nothing")
}
