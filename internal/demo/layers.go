package demo

import (
	"archive/tar"
	"bytes"
	"fmt"
	"time"
)

// epoch is the time of everything in the image, so that its bytes do not
// depend on when it was made.
func epoch() time.Time { return time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC) }

const (
	userID  = 1000
	groupID = 1000
)

// layer is one entry of the image's history; entries is nil for one that only
// changes the config.
type layer struct {
	createdBy string
	entries   []tar.Header
	content   map[string]string
}

// layers gives the history, base first.
func layers(program []byte, hostname string) []layer {
	return []layer{
		base(hostname),
		files("COPY hello /usr/bin/hello, linked to /usr/bin/look",
			file("usr/bin/hello", 0o755, string(program)),
			hardLink("usr/bin/look", "usr/bin/hello"),
		),
		// No entries for /srv and /var/lib: they are implied by what is in them.
		files("COPY notes /srv/notes, old data to /var/lib/demo, volume seed to /data",
			file("srv/notes/one.txt", 0o644, "The first note.\n"),
			file("srv/notes/two.txt", 0o644, "This note will be deleted by a whiteout.\n"),
			file("srv/notes/three.txt", 0o600, "The third note.\n"),
			dir("var/lib/demo", 0o755, 0),
			file("var/lib/demo/old.txt", 0o644, "Hidden by an opaque directory.\n"),
			dir("var/lib/demo/cache", 0o755, 0),
			file("var/lib/demo/cache/old.bin", 0o644, "\x00\x01\x02\x03"),
			dir("data", 0o755, userID),
			owned(file("data/seed.txt", 0o644, "what the image put into its volume\n")),
		),
		files("RUN rm /srv/notes/two.txt; rm -r /var/lib/demo; echo > /var/lib/demo/new.txt",
			whiteout("srv/notes/two.txt"),
			dir("var/lib/demo", 0o755, 0),
			whiteout("var/lib/demo/.wh..opq"),
			file("var/lib/demo/new.txt", 0o644, "The newest file.\n"),
		),
		{createdBy: `USER demo; WORKDIR /home/demo; ENV GREETING; VOLUME /data; ENTRYPOINT ["hello"]`},
		files("RUN echo > /etc/motd; chmod 750 /home/demo",
			file("etc/motd", 0o644, "the top layer replaced this file of the lowest\n"),
			dir("home/demo", 0o750, userID),
		),
	}
}

// base has the directories that a container needs and the names of its users.
func base(hostname string) layer {
	return files("ADD directories, /etc/passwd and /etc/group",
		dir("usr", 0o755, 0), dir("usr/bin", 0o755, 0),
		symlink("bin", "usr/bin"),
		dir("dev", 0o755, 0), dir("proc", 0o555, 0), dir("sys", 0o555, 0), dir("run", 0o755, 0),
		dir("root", 0o700, 0), dir("tmp", 0o1777, 0),
		dir("home", 0o755, 0), dir("home/demo", 0o755, userID),
		dir("etc", 0o755, 0),
		file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/hello\n"+
			fmt.Sprintf("demo:x:%d:%d:Demo user:/home/demo:/bin/hello\n", userID, groupID)),
		file("etc/group", 0o644, "root:x:0:\n"+fmt.Sprintf("demo:x:%d:\nnotes:x:1001:demo\n", groupID)),
		file("etc/motd", 0o644, "the lowest layer's text, which the top layer replaces\n"),
		file("etc/hostname", 0o644, hostname+"\n"),
	)
}

type entry struct {
	header  tar.Header
	content string
}

func files(createdBy string, entries ...entry) layer {
	l := layer{createdBy: createdBy, content: map[string]string{}}
	for _, e := range entries {
		l.entries = append(l.entries, e.header)
		l.content[e.header.Name] = e.content
	}
	return l
}

func file(name string, mode int64, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}, content}
}

func dir(name string, mode int64, owner int) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, ""}
}

func owned(e entry) entry {
	e.header.Uid, e.header.Gid = userID, groupID
	return e
}

func symlink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func hardLink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o755}, ""}
}

// whiteout marks name, as image-spec section "Whiteouts" says, by an empty
// file beside it.
func whiteout(name string) entry {
	cut := bytes.LastIndexByte([]byte(name), '/') + 1
	return file(name[:cut]+".wh."+name[cut:], 0o644, "")
}

// tarball writes the layer's entries.
func (l layer) tarball() ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range l.entries {
		h.ModTime, h.Format = epoch(), tar.FormatPAX
		if err := tw.WriteHeader(&h); err != nil {
			return nil, fmt.Errorf("write entry %s: %w", h.Name, err)
		}
		if _, err := tw.Write([]byte(l.content[h.Name])); err != nil {
			return nil, fmt.Errorf("write entry %s: %w", h.Name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
