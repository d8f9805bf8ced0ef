package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/overlay"
)

// complete prints what the last of words could become, one a line: commands,
// options, the values of those that have a choice, names of images in the
// store, bundle directories. Errors have no place here: nothing is proposed, nor
// is what a shell would not take for the word it is: bash puts it into the
// command line as it comes, and completes file names better by itself.
func complete(ctx context.Context, app *cli.App, words []string, std streams) {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	if slices.Contains(before, "--") {
		return // the container's own
	}
	for _, p := range proposals(ctx, app, before, last) {
		if strings.HasPrefix(p, last) && typable(p) {
			_, _ = fmt.Fprintln(std.out, p)
		}
	}
}

// typable says whether p stands for itself on the command line of a shell.
func typable(p string) bool {
	return strings.HasPrefix(p, "-") || !needsQuotes(strings.ReplaceAll(p, "=", "")) && !strings.ContainsAny(p, "{}")
}

func proposals(ctx context.Context, app *cli.App, before []string, last string) []string {
	a := arranger{global: app.Flags, commands: app.Commands}
	if name, ok := a.waiting(before); ok {
		return choices(name)
	}
	if err := a.scan(before); err != nil {
		return nil
	}
	if name, _, ok := strings.Cut(last, "="); ok && strings.HasPrefix(last, "-") {
		_, f := a.lookup(strings.TrimLeft(name, "-"))
		return prefixed(name+"=", choices(f))
	}
	if strings.HasPrefix(last, "-") {
		return a.flagNames()
	}
	if len(a.operands) == 0 && len(a.commands) > 0 {
		var names []string
		for _, c := range a.commands {
			names = append(names, c.Name)
		}
		return names
	}
	if a.command == nil {
		return nil
	}
	return a.operandProposals(ctx, last)
}

// waiting returns the flag at the end of words that still lacks its value.
func (a *arranger) waiting(words []string) (cli.Flag, bool) {
	if len(words) == 0 || !strings.HasPrefix(words[len(words)-1], "-") || strings.Contains(words[len(words)-1], "=") {
		return nil, false
	}
	probe := *a
	if err := probe.scan(words[:len(words)-1]); err != nil {
		return nil, false
	}
	_, f := probe.lookup(strings.TrimLeft(words[len(words)-1], "-"))
	return f, f != nil && !isBool(f)
}

// choices are the values of a flag whose usage names them: `none|host`.
func choices(f cli.Flag) []string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return nil
	}
	value, _ := placeholder(d.GetUsage())
	return alternatives(value)
}

func alternatives(value string) []string {
	if !strings.Contains(value, "|") || strings.ToLower(value) != value {
		return nil
	}
	return strings.Split(value, "|")
}

func (a *arranger) flagNames() []string {
	names := []string{"--help"}
	flags := a.global
	if a.command != nil {
		flags = append(slices.Clone(a.command.Flags), flags...)
	}
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && v.IsVisible() {
			names = append(names, "--"+f.Names()[0])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// operandProposals goes by the command's synopsis, which names its operands.
func (a *arranger) operandProposals(ctx context.Context, last string) []string {
	want := operandAt(a.command.UsageText, len(a.path), len(a.operands))
	if list := alternatives(want); list != nil {
		return list
	}
	var list []string
	if strings.Contains(want, "IMAGE") {
		list = storedNames(ctx, a.storeDir())
	}
	onBundles := a.path[0] == "overlay" || strings.Contains(want, "|DIR")
	if onBundles && strings.Contains(want, "DIR") {
		list = append(list, bundleDirs(last)...)
	}
	return list
}

// operandAt is the word for operand n, counted from 0, in a synopsis: after
// the program's name and the command's, without options in brackets.
func operandAt(usage string, commands, n int) string {
	var operands []string
	depth := 0
	for i, word := range strings.Fields(usage) {
		opens := strings.Count(word, "[") > strings.Count(word, "]")
		closes := strings.Count(word, "[") < strings.Count(word, "]")
		inside := depth > 0 || opens
		if opens {
			depth++
		}
		if closes {
			depth--
		}
		if i <= commands || inside || strings.HasPrefix(word, "[-") || word == "[OPTIONS]" {
			continue
		}
		operands = append(operands, word)
	}
	if len(operands) == 0 {
		return ""
	}
	if n < len(operands) {
		return operands[n]
	}
	if final := operands[len(operands)-1]; strings.HasSuffix(final, "…") {
		return final
	}
	return ""
}

func (a *arranger) storeDir() string {
	for i := len(a.globals) - 1; i >= 0; i-- {
		if dir, ok := strings.CutPrefix(a.globals[i], "--store="); ok {
			return dir
		}
	}
	if dir := os.Getenv(storeVariable); dir != "" {
		return dir
	}
	return defaultStore()
}

// storedNames are those of the images in the store, in full and as people
// write them. A store that is not there is not made.
func storedNames(ctx context.Context, dir string) []string {
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		return nil
	}
	store, err := overlay.Open(ctx, dir, overlay.Options{})
	if err != nil {
		return nil
	}
	defer func() { _ = store.Close() }()
	imgs, err := store.Images(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, img := range imgs {
		names = append(names, img.Name)
		if ref, err := reference.ParseNormalizedNamed(img.Name); err == nil {
			names = append(names, reference.FamiliarString(ref))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// bundleDirs are the directories beginning with last that hold a bundle, or
// lead to one.
func bundleDirs(last string) []string {
	found, err := filepath.Glob(globEscape(last) + "*")
	if err != nil {
		return nil
	}
	var dirs []string
	for _, path := range found {
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() {
			continue
		}
		if _, err := os.Stat(filepath.Join(path, "image.json")); err == nil {
			dirs = append(dirs, path)
		}
	}
	return dirs
}

func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

func prefixed(prefix string, list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, prefix+s)
	}
	return out
}
