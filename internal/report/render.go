package report

import (
	"bufio"
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"html/template"
	"io"
)

var (
	//go:embed page.html.tmpl
	pageText string
	//go:embed page.css
	styleText string
	//go:embed page.js
	scriptText string
)

// document is what the template gets.
type document struct {
	*Page
	CSS    template.CSS
	Script template.JS
	CSP    string
}

// Write writes the page.
func (p *Page) Write(w io.Writer) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	if err := t.Execute(out, document{
		Page:   p,
		CSS:    template.CSS(styleText),
		Script: template.JS(scriptText),
		CSP: "default-src 'none'; style-src '" + hash(styleText) + "'; script-src '" + hash(scriptText) +
			"'; base-uri 'none'; form-action 'none'",
	}); err != nil {
		return err
	}
	return out.Flush()
}

// hash is how a content security policy names an inline script or style.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
