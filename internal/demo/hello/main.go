// Command hello is the program of the demo image. Run without arguments it
// looks around in its container and says what it finds; what it expects to
// find was put there, or taken away, by the image's layers. Its few other
// words are for experiments: cat, env, exit, id, ls, sleep.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	words := map[string]func([]string, io.Writer) error{
		"look": look, "cat": cat, "env": env, "id": id, "ls": ls, "sleep": sleep,
	}
	if len(args) == 0 {
		args = []string{"look"}
	}
	if args[0] == "exit" && len(args) == 2 {
		if code, err := strconv.Atoi(args[1]); err == nil {
			return code
		}
	}
	word := words[args[0]]
	if word == nil {
		_, _ = fmt.Fprintf(stderr, "hello: unknown word %q; try look, cat, env, exit N, id, ls or sleep\n", args[0])
		return 2
	}
	if err := word(args[1:], stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "hello: %v\n", err)
		return 1
	}
	return 0
}

func id(_ []string, out io.Writer) error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "uid=%d gid=%d groups=%v\n", os.Getuid(), os.Getgid(), groups)
	return err
}

func env(_ []string, out io.Writer) error {
	vars := os.Environ()
	slices.Sort(vars)
	_, err := fmt.Fprintln(out, strings.Join(vars, "\n"))
	return err
}

func cat(names []string, out io.Writer) error {
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := out.Write(data); err != nil {
			return err
		}
	}
	return nil
}

func ls(names []string, out io.Writer) error {
	for _, name := range append(names, ".")[:max(1, len(names))] {
		entries, err := os.ReadDir(name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(out, "%s %8d %s\n", info.Mode(), info.Size(), filepath.Join(name, e.Name()))
		}
	}
	return nil
}

func sleep(args []string, _ io.Writer) error {
	d, err := time.ParseDuration(strings.Join(args, ""))
	if err != nil {
		return fmt.Errorf("%w; say for example: sleep 2s", err)
	}
	time.Sleep(d)
	return nil
}

// finding is one thing to look at; check says what it is, or what is wrong.
type finding struct {
	what  string
	check func() (string, error)
}

// look prints one line for each finding, and fails if one is not as the image
// was made.
func look(_ []string, out io.Writer) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "Hello from a container that was made by hand, on host %q, as process %d.\n",
		host, os.Getpid()); err != nil {
		return err
	}
	wrong := 0
	for _, f := range findings() {
		said, err := f.check()
		mark := "ok"
		if err != nil {
			said, mark = err.Error(), "NO"
			wrong++
		}
		if _, err := fmt.Fprintf(out, "  %s  %-18s %s\n", mark, f.what, said); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return fmt.Errorf("look: %d of %d findings are not as the image was made", wrong, len(findings()))
	}
	return nil
}

func findings() []finding {
	return []finding{
		{"user", user},
		{"working directory", os.Getwd},
		{"environment", greeting},
		{"layers", text("/etc/motd")},
		{"whiteout", whiteout},
		{"opaque directory", opaque},
		{"hard link", hardLink},
		{"symbolic link", symlink},
		{"volume", volume},
	}
}

// user says who we are by name, which /etc/passwd of the image knows.
func user() (string, error) {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(passwd)) {
		field := strings.Split(line, ":")
		if len(field) > 3 && field[2] == strconv.Itoa(os.Getuid()) {
			return fmt.Sprintf("%s, uid %s, gid %d", field[0], field[2], os.Getgid()), nil
		}
	}
	return "", fmt.Errorf("uid %d has no name in /etc/passwd", os.Getuid())
}

func greeting() (string, error) {
	if v := os.Getenv("GREETING"); v != "" {
		return "GREETING=" + v, nil
	}
	return "", fmt.Errorf("GREETING is not set")
}

func text(name string) func() (string, error) {
	return func() (string, error) {
		data, err := os.ReadFile(name)
		return strings.TrimSpace(string(data)), err
	}
}

func whiteout() (string, error) {
	if _, err := os.Lstat("/srv/notes/two.txt"); !errors.Is(err, fs.ErrNotExist) {
		return "", errors.Join(errors.New("/srv/notes/two.txt is not gone"), err)
	}
	if _, err := os.Lstat("/srv/notes/one.txt"); err != nil {
		return "", err
	}
	return "/srv/notes/two.txt is gone, its neighbours are there", nil
}

func opaque() (string, error) {
	entries, err := os.ReadDir("/var/lib/demo")
	if err != nil {
		return "", err
	}
	if len(entries) != 1 || entries[0].Name() != "new.txt" {
		return "", fmt.Errorf("/var/lib/demo has %v, expected new.txt alone", entries)
	}
	return "/var/lib/demo has its newest file alone", nil
}

func hardLink() (string, error) {
	var a, b syscall.Stat_t
	if err := syscall.Stat("/usr/bin/hello", &a); err != nil {
		return "", err
	}
	if err := syscall.Stat("/usr/bin/look", &b); err != nil {
		return "", err
	}
	if a.Ino != b.Ino {
		return "", fmt.Errorf("/usr/bin/hello and /usr/bin/look are different files")
	}
	return "/usr/bin/hello and /usr/bin/look are one file", nil
}

func symlink() (string, error) {
	to, err := os.Readlink("/bin")
	if err != nil {
		return "", err
	}
	_, err = os.Stat("/bin/hello")
	return "/bin -> " + to, err
}

func volume() (string, error) {
	data, err := os.ReadFile("/data/seed.txt")
	return "/data came with: " + strings.TrimSpace(string(data)), err
}
