package handscript

import (
	"fmt"
	"strings"

	sh "github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/pull"
)

// source is an endpoint under the name that the script has for it: mirror1,
// mirror2, …, origin.
type source struct {
	name string
	pull.Endpoint
}

func (s *Script) sources() []source {
	list := make([]source, len(s.Endpoints))
	mirrors := 0
	for i, e := range s.Endpoints {
		list[i] = source{"origin", e}
		if e.Mirror {
			mirrors++
			list[i].name = fmt.Sprintf("mirror%d", mirrors)
		}
	}
	return list
}

// conditions are those of the functions that only some scripts need.
func (s *Script) conditions() map[string]bool {
	holds := map[string]bool{}
	for _, e := range s.Endpoints {
		holds["mirrors"] = holds["mirrors"] || e.Mirror
		holds["certificates"] = holds["certificates"] || len(e.ClientCerts) > 0
	}
	return holds
}

// lacks says what byhand would do and the script will not.
func (s *Script) lacks() []string {
	var list []string
	for _, e := range s.Endpoints {
		if len(e.Headers) > 0 {
			list = append(list, fmt.Sprintf("the script does not send what a hosts.toml adds to requests to %s: %s", e.URLs[0], strings.Join(e.Headers, ", ")))
		}
		if n := len(e.ClientCerts); n > 1 {
			list = append(list, fmt.Sprintf("the script has the first of %d client certificates for %s: %s", n, e.URLs[0], e.ClientCerts[0].Cert))
		}
	}
	return list
}

// sourceVariables say where content comes from.
func (w *writer) sourceVariables() {
	var mirrors []string
	for _, s := range w.sources() {
		w.set(s.name, s.URLs[0])
		if s.Mirror {
			mirrors = append(mirrors, s.name)
		}
		if len(s.ClientCerts) > 0 {
			// A colon would end the name: a password follows it.
			w.set("cert_"+s.name, strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(absolute(s.ClientCerts[0].Cert)))
			w.set("key_"+s.name, absolute(s.ClientCerts[0].Key))
		}
	}
	if len(mirrors) > 0 {
		w.raw("mirrors='" + strings.Join(mirrors, " ") + "' # asked in this order, before the registry itself\ndead=\n")
	}
}

// sourceFunctions are those that differ with the sources.
func (w *writer) sourceFunctions() string {
	if w.Image.Reference.Transport != pull.Registry {
		return ""
	}
	o := &writer{}
	o.raw("\n# use SOURCE: what is asked from now on.\nuse() {\n")
	if sources := w.sources(); len(sources) > 1 || len(sources[0].ClientCerts) > 0 {
		o.raw("\tsource=$1\n")
	}
	if w.conditions()["certificates"] {
		o.raw("\town=yes # the certificate is for this source alone\n")
	}
	o.raw("\tauth=$tmp/login-$1\n\t[ -e \"$auth\" ] || : >\"$auth\" # nobody has asked for a login yet\n\tcase $1 in\n")
	for _, s := range w.sources() {
		follow := "--location"
		if len(s.ClientCerts) > 0 {
			follow = "--no-location" // step by step, so that the certificate stays here
		}
		query := "''"
		if s.Namespace != "" {
			query = sh.Quote("?ns=" + s.Namespace)
		}
		o.raw(fmt.Sprintf("\t%s) registry=$%s query=%s follow=%s ;;\n", s.name, s.name, query, follow))
	}
	o.raw("\tesac\n}\n")
	o.net(w.sources())
	return o.lines.String()
}

// net writes the function that calls curl as all its callers want it.
func (w *writer) net(sources []source) {
	common := []string{"--silent", "--show-error", "--globoff"}
	timing := []string{"--connect-timeout", "15", "--speed-limit", "1", "--speed-time", "30", "--retry", "5"}
	w.raw("\n# net ARG...: curl, patient but not endlessly.\nnet() {\n")
	if len(sources) == 1 && len(sources[0].ClientCerts) == 0 {
		common = append(common, sources[0].options()...)
	} else {
		w.raw("\tcase $source in\n")
		for _, s := range sources {
			options := s.options()
			if s.Mirror {
				options = append(options, "--retry", "1") // there are others
			}
			w.raw(fmt.Sprintf("\t%s) set -- %s \"$@\" ;;\n", s.name, strings.Join(options, " ")))
		}
		w.raw("\tesac\n")
		for _, s := range sources {
			if len(s.ClientCerts) > 0 {
				w.raw(fmt.Sprintf("\tif [ \"$source$own\" = %syes ]; then set -- --cert \"$cert_%s\" --key \"$key_%s\" \"$@\"; fi\n", s.name, s.name, s.name))
			}
		}
	}
	w.raw("\tcurl " + strings.Join(common, " ") + " \\\n\t\t" + strings.Join(timing, " ") + " \"$@\"\n}\n")
}

// options are curl's for the source, certificates for clients aside.
func (s source) options() []string {
	protocols := "=https"
	for _, url := range s.URLs {
		if strings.HasPrefix(url, "http:") {
			protocols = "=http,https"
		}
	}
	options := []string{"--proto", protocols, "--proto-redir", protocols}
	if s.SkipVerify {
		options = append(options, "--insecure")
	}
	if len(s.Authorities) > 0 {
		options = append(options, "--cacert", `"$tmp/ca-`+s.name+`"`)
	}
	return options
}

// reach prepares to speak to the sources.
func (w *writer) reach() {
	for _, s := range w.sources() {
		if len(s.Authorities) == 0 {
			continue
		}
		w.learn("Authorities that are trusted beside those of this system.")
		words := []any{"trust", shell(`"$tmp/ca-` + s.name + `"`)}
		for _, file := range s.Authorities {
			words = append(words, absolute(file))
		}
		w.line(words...)
	}
	w.raw("use origin\n")
	origin := w.Endpoints[len(w.Endpoints)-1]
	if len(origin.URLs) < 2 {
		return
	}
	w.note("A registry on this machine may speak HTTPS or plain HTTP; any answer will do.")
	w.raw("if ! net --output /dev/null \"$registry/\" 2>/dev/null; then\n\torigin=" + w.word(origin.URLs[1]) + "\n\tuse origin\nfi\n")
}
