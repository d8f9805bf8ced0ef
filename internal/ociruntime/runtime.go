package ociruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// defaultRuntimes is the order in which a runtime is looked for.
var defaultRuntimes = []string{"runc", "crun", "youki"}

// Find returns the path of an OCI runtime: of name (a program or a path) or,
// if name is empty, of the first one that is installed. The system's
// directories are searched beyond PATH, which an ordinary user's often lacks.
func Find(name string) (string, error) {
	if strings.Contains(name, "/") {
		abs, err := filepath.Abs(name)
		if err != nil {
			return "", fmt.Errorf("find OCI runtime %s: %w", name, err)
		}
		if _, err := exec.LookPath(abs); err != nil {
			return "", &MissingError{Runtime: name, Err: errors.Unwrap(err)}
		}
		return abs, nil
	}
	candidates := defaultRuntimes
	if name != "" {
		candidates = []string{name}
	}
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return filepath.Abs(path)
		}
		for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
			if path, err := exec.LookPath(filepath.Join(dir, c)); err == nil {
				return path, nil
			}
		}
	}
	return "", &MissingError{Runtime: name}
}

// commandLine builds the runtime's argument lists. They are the ones that
// runc, crun and youki share.
type commandLine struct {
	path, root, log string
}

func (c commandLine) args(command string, rest ...string) []string {
	global := []string{c.path, "--root", c.root, "--log", c.log, "--log-format", "json", command}
	return append(global, rest...)
}

// runtimeEnv is the environment without what makes a runtime talk to the
// caller's service manager or pass descriptors on.
func runtimeEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES":
		default:
			env = append(env, kv)
		}
	}
	return env
}

// lastError returns what the runtime's log says of its failure.
func lastError(log []byte) string {
	var text string
	for line := range strings.Lines(string(log)) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg == "" {
			continue
		}
		if entry.Level == "error" || entry.Level == "fatal" || text == "" {
			text = entry.Msg
		}
	}
	return text
}

// notFound and notExec are how runtimes say that the container's program is
// missing or cannot be executed. Other files may be missing too, so only
// sentences about the program count.
var (
	notFound = []*regexp.Regexp{
		regexp.MustCompile(`exec: .*: executable file not found in \$PATH`),        // runc
		regexp.MustCompile(`exec: .*: (stat .*: )?no such file or directory`),      // runc
		regexp.MustCompile(`executable file .* not found`),                         // crun, youki
		regexp.MustCompile(`^exec .*: no such file or directory$`),                 // runc, after start
		regexp.MustCompile(`exec container process .*: No such file or directory`), // crun, after start
	}
	notExec = []*regexp.Regexp{
		regexp.MustCompile(`exec: .*: (permission denied|is a directory|exec format error)`),         // runc
		regexp.MustCompile(`^exec .*: permission denied$`),                                           // runc 1.1, not for this user or mount
		regexp.MustCompile(`exec: .*: stat .*: (not a directory|too many levels of symbolic links)`), // runc
		regexp.MustCompile(`open executable: `),                                                      // crun
		regexp.MustCompile(`executable .* (is a directory|not executable)`),                          // youki
	}
)

// classify turns a runtime's words into an exit code.
func classify(text string) int {
	for _, r := range notFound {
		if r.MatchString(text) {
			return CodeNotFound
		}
	}
	for _, r := range notExec {
		if r.MatchString(text) {
			return CodeNotExec
		}
	}
	return CodeFailed
}

// trimPrefixes takes off what runtimes put before the cause.
func trimPrefixes(text string) string {
	for _, p := range []string{"runc run failed: ", "runc create failed: ", "runc start failed: ", "unable to start container process: "} {
		text = strings.TrimPrefix(text, p)
	}
	return strings.Join(strings.Fields(text), " ")
}

// advise adds what to do next to a failure that has a known way out.
func advise(text string) string {
	if strings.Contains(text, "cgroups in hybrid mode not supported") {
		return text + "; start it with --runtime runc, or as root"
	}
	return text
}
