package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const stream = `{"Action":"start","Package":"github.com/byhand/byhand/x"}
{"Action":"run","Package":"github.com/byhand/byhand/x","Test":"TestOK"}
{"Action":"output","Package":"github.com/byhand/byhand/x","Test":"TestOK","Output":"chatter\n"}
{"Action":"pass","Package":"github.com/byhand/byhand/x","Test":"TestOK"}
{"Action":"output","Package":"github.com/byhand/byhand/x","Test":"TestS/sub","Output":"    x_test.go:7: no kernel\n"}
{"Action":"output","Package":"github.com/byhand/byhand/x","Test":"TestS/sub","Output":"--- SKIP: TestS/sub (0.00s)\n"}
{"Action":"skip","Package":"github.com/byhand/byhand/x","Test":"TestS/sub"}
{"Action":"output","Package":"github.com/byhand/byhand/x","Output":"PASS\n"}
{"Action":"output","Package":"github.com/byhand/byhand/x","Output":"ok  \tgithub.com/byhand/byhand/x\t0.1s\n"}
{"Action":"pass","Package":"github.com/byhand/byhand/x"}
{"Action":"skip","Package":"github.com/byhand/byhand/none"}
`

const failing = `{"Action":"output","Package":"github.com/byhand/byhand/x","Test":"TestBad","Output":"    x_test.go:9: wrong\n"}
{"Action":"fail","Package":"github.com/byhand/byhand/x","Test":"TestBad"}
{"Action":"output","Package":"github.com/byhand/byhand/x","Test":"TestLost","Output":"last words\n"}
{"Action":"fail","Package":"github.com/byhand/byhand/x"}
`

func TestRun(t *testing.T) {
	list := func(text string) string {
		name := filepath.Join(t.TempDir(), "skips")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	tests := []struct {
		name, in, skips string
		problem         string // in the error; none if empty
		printed         []string
	}{
		{"lenient", stream, "", "", []string{"ok  \t", "skipped: x TestS/sub: no kernel", "1 passed, 0 failed, 1 skipped"}},
		{"strict", stream, list("# nothing\n"), "x TestS/sub skipped", nil},
		{"listed", stream, list("x TestS/sub the kernel lacks it\n"), "", nil},
		{"listed with its siblings", stream, list("x TestS/... the kernel lacks it\n"), "", nil},
		{"listed for another package", stream, list("y TestS/sub the kernel lacks it\n"), "skipped", nil},
		{"listed without a reason", stream, list("x TestS/sub\n"), "REASON", nil},
		{"failing", stream + failing, "", "x TestBad failed", []string{"wrong", "last words", "1 failed"}},
		{"not built", `{"Action":"build-fail","ImportPath":"github.com/byhand/byhand/z"}`, "", "(build) failed", nil},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		err := run(strings.NewReader(tt.in), &out, tt.skips)
		if tt.problem == "" && err != nil || tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
			t.Errorf("%s: error %v, expected %q in it", tt.name, err, tt.problem)
		}
		for _, want := range tt.printed {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in %q", tt.name, want, out.String())
			}
		}
		if strings.Contains(out.String(), "chatter") {
			t.Errorf("%s: a passed test's output was printed", tt.name)
		}
	}
}
