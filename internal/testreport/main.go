// Command testreport reads the output of go test -json and prints what a
// person wants of it: go test's own line for each package, the whole output of
// what failed, and the tests that skipped, with their reasons.
//
// With -skips FILE it fails if a test skipped that FILE does not list: a check
// that silently does not run proves nothing.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

const module = "github.com/byhand/byhand"

func main() {
	skips := flag.String("skips", "", "list of the tests that may skip; without it all may")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *skips); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

// event is a line of go test -json, as go doc test2json describes it.
type event struct {
	Action, Package, ImportPath, Test, Output string
}

type test struct{ pkg, name string }

type report struct {
	out    io.Writer
	output map[test][]string // of tests that have not ended
	counts map[string]int
	skips  map[test]string
	failed []test
}

func run(in io.Reader, out io.Writer, skipList string) error {
	allowed, err := readSkips(skipList)
	if err != nil {
		return err
	}
	r := &report{out: out, output: map[test][]string{}, counts: map[string]int{}, skips: map[test]string{}}
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var e event
		if json.Unmarshal(scanner.Bytes(), &e) != nil {
			r.print(scanner.Text() + "\n") // not an event: something go itself says
			continue
		}
		r.add(e)
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read test output: %w", err)
	}
	return r.finish(allowed, skipList != "")
}

func (r *report) print(s string) { _, _ = io.WriteString(r.out, s) }

func (r *report) add(e event) {
	t := test{strings.TrimPrefix(strings.TrimPrefix(e.Package, module), "/"), e.Test}
	switch e.Action {
	case "build-output":
		r.print(e.Output)
	case "build-fail":
		r.failed = append(r.failed, test{e.ImportPath, "(build)"})
	case "output":
		r.addOutput(t, e.Output)
	case "pass", "fail", "skip":
		r.end(t, e.Action)
	}
}

// addOutput keeps a test's output until it is known whether anybody wants it.
// A package's own output is go test's summary, or what a panic left.
func (r *report) addOutput(t test, line string) {
	if t.name == "" {
		if line != "PASS\n" && line != "FAIL\n" && !strings.Contains(line, "[no test files]") {
			r.print(line)
		}
		return
	}
	r.output[t] = append(r.output[t], line)
}

func (r *report) end(t test, action string) {
	if t.name == "" {
		if action == "fail" {
			r.endPackage(t.pkg)
		}
		return
	}
	r.counts[action]++
	switch action {
	case "fail":
		r.failed = append(r.failed, t)
		r.print(strings.Join(r.output[t], ""))
	case "skip":
		r.skips[t] = reason(r.output[t])
	}
	delete(r.output, t)
}

// endPackage prints what tests had to say that never ended, because their
// process died.
func (r *report) endPackage(pkg string) {
	r.failed = append(r.failed, test{pkg, "(package)"})
	for t, lines := range r.output {
		if t.pkg == pkg {
			r.print(strings.Join(lines, ""))
			delete(r.output, t)
		}
	}
}

// reason finds what the test said when it skipped: the last line that is not
// the framework's own, without its source position.
func reason(lines []string) string {
	for _, line := range slices.Backward(lines) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			_, line, _ = strings.Cut(after, ": ")
		}
		return line
	}
	return "no reason given"
}

func (r *report) finish(allowed []test, strict bool) error {
	skipped := make([]test, 0, len(r.skips))
	for t := range r.skips {
		skipped = append(skipped, t)
	}
	slices.SortFunc(skipped, func(a, b test) int { return strings.Compare(a.pkg+" "+a.name, b.pkg+" "+b.name) })
	var problems []error
	for _, t := range skipped {
		r.print(fmt.Sprintf("skipped: %s %s: %s\n", t.pkg, t.name, r.skips[t]))
		if strict && !slices.ContainsFunc(allowed, t.matches) {
			problems = append(problems, fmt.Errorf("%s %s skipped, and .ci/skips does not list it", t.pkg, t.name))
		}
	}
	for _, t := range r.failed {
		problems = append(problems, fmt.Errorf("%s %s failed", t.pkg, t.name))
	}
	r.print(fmt.Sprintf("%d passed, %d failed, %d skipped\n", r.counts["pass"], r.counts["fail"], r.counts["skip"]))
	return errors.Join(problems...)
}

// matches tells whether an entry of the list stands for the test.
func (t test) matches(entry test) bool {
	if t.pkg != entry.pkg {
		return false
	}
	prefix, all := strings.CutSuffix(entry.name, "/...")
	return t.name == prefix || all && strings.HasPrefix(t.name, prefix+"/")
}

// readSkips reads the list; each entry must say why.
func readSkips(name string) ([]test, error) {
	if name == "" {
		return nil, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var list []test
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("read %s: %q: expected PACKAGE TEST REASON", name, line)
		}
		list = append(list, test{fields[0], fields[1]})
	}
	return list, nil
}
