package overlay

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
)

// What a file's mode and times should be follows from its entry, or from the
// lower layers; what it may lack, from what unpacking could not keep.

const (
	attrACL        = "system.posix_acl_access"
	attrDefaultACL = "system.posix_acl_default"
	attrCapability = "security.capability"
)

// kernelAttrs are set by the kernel's security modules of themselves.
var kernelAttrs = []string{"security.selinux", "security.ima", "security.evm", "security.apparmor"}

// seesTrusted reports whether attributes of the name space trusted can be
// seen (xattr(7)).
func seesTrusted() bool {
	if userns.RunningInUserNS() {
		return false
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// meta compares mode, owner, attributes and time of base in dirfd.
func (c *comparer) meta(dirfd int, base string, want *imagetree.LowerFile, st *unix.Stat_t) error {
	attrs := map[string]string{}
	for _, x := range want.Xattrs {
		if value, ok := givenBack(x.Name, x.Value); ok {
			attrs[x.Name] = value
		}
	}
	mode := want.Mode & 0o7777
	if acl, ok := attrs[attrACL]; ok && !c.kept.lacks(attrACL) {
		var minimal bool
		if mode, minimal = modeOfACL(mode, acl); minimal {
			delete(attrs, attrACL) // the file system keeps it as the mode
		}
	}
	if found := st.Mode & 0o7777; found != mode && !c.setIDLost(st, mode) {
		c.differ(want.Name, "mode", fmt.Sprintf("%04o", mode), fmt.Sprintf("%04o", found))
	}
	if c.v.owners && (st.Uid != want.UID || st.Gid != want.GID) {
		c.differ(want.Name, "owner", fmt.Sprintf("%d:%d", want.UID, want.GID), fmt.Sprintf("%d:%d", st.Uid, st.Gid))
	}
	if err := c.attrs(dirfd, base, want, attrs); err != nil {
		return err
	}
	c.time(want, time.Unix(st.Mtim.Unix()))
	return nil
}

// givenBack is the value of an attribute as the kernel gives it back once it
// was set, if it does.
func givenBack(attr, value string) (_ string, ok bool) {
	switch attr {
	case attrCapability:
		return keptCapability(value), true
	case attrACL, attrDefaultACL:
		return keptACL(value)
	}
	return value, true
}

// keptCapability knows that capabilities for the user namespace whose root is
// ID 0, which is that of the reader, are given back as version 2, which has no
// ID (capabilities(7), linux/capability.h).
func keptCapability(value string) string {
	const versionAt, idAt, size = 3, 20, 24
	if len(value) == size && value[versionAt] == 3 && value[idAt:] == "\x00\x00\x00\x00" {
		return value[:versionAt] + "\x02" + value[versionAt+1:idAt]
	}
	return value
}

// keptACL knows that an access control list without entries is none, and that
// the ID of an entry for no named user or group is -1
// (linux/posix_acl_xattr.h).
func keptACL(value string) (_ string, ok bool) {
	const header, entry, idAt, namedUser, namedGroup = 4, 8, 4, 0x02, 0x08
	if len(value) == header {
		return "", false
	}
	if len(value)%entry != header {
		return value, true // the kernel takes no such list
	}
	acl := []byte(value)
	for e := range slices.Chunk(acl[header:], entry) {
		if tag := binary.LittleEndian.Uint16(e); tag != namedUser && tag != namedGroup {
			copy(e[idAt:], "\xff\xff\xff\xff")
		}
	}
	return string(acl), true
}

// setIDLost says whether a file that should have mode lacks only the setuid and
// setgid bits, which unpacking drops with an owner that it cannot give.
func (c *comparer) setIDLost(st *unix.Stat_t, mode uint32) bool {
	return c.v.format.Squashed && st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Mode&0o7777 == mode&^(unix.S_ISUID|unix.S_ISGID)
}

// modeOfACL returns what mode a file with that access control list has, and
// whether the list says no more than the mode (acl(5), linux/posix_acl_xattr.h).
func modeOfACL(mode uint32, acl string) (_ uint32, minimal bool) {
	const user, group, mask, other = 0x01, 0x04, 0x10, 0x20
	perm := map[uint16]uint32{}
	for entry := range slices.Chunk([]byte(acl)[min(4, len(acl)):], 8) {
		if len(entry) == 8 {
			perm[binary.LittleEndian.Uint16(entry)] |= uint32(binary.LittleEndian.Uint16(entry[2:])) & 7
		}
	}
	class := perm[group]
	if m, ok := perm[mask]; ok {
		class = m
	}
	return mode&0o7000 | perm[user]<<6 | class<<3 | perm[other], len(acl) == 4+3*8
}

// attrs compares extended attributes, overlayfs's own among them.
func (c *comparer) attrs(dirfd int, base string, want *imagetree.LowerFile, attrs map[string]string) error {
	if want.Opaque {
		attrs[c.opaqueAttr()] = "y"
	}
	found := map[string]string{}
	err := everyXattrAt(dirfd, base, func(attr string, value []byte) error {
		found[attr] = string(value)
		return nil
	})
	if err != nil {
		return err
	}
	for _, attr := range slices.Sorted(maps.Keys(attrs)) {
		value, ok := found[attr]
		delete(found, attr)
		switch {
		case ok && value == attrs[attr]:
		case ok:
			c.differ(want.Name, attr, quoteValue(attrs[attr]), quoteValue(value))
		case strings.HasPrefix(attr, "trusted.") && !c.v.trusted:
			c.v.unseen.Store(true)
		case attr == c.opaqueAttr() && want.Opaque:
			c.differ(want.Name, "opaque marker", "set", "not set")
		case !c.kept.lacks(attr):
			c.differ(want.Name, attr, quoteValue(attrs[attr]), "nothing")
		}
	}
	for _, attr := range slices.Sorted(maps.Keys(found)) {
		switch {
		case slices.Contains(kernelAttrs, attr):
		case attr == opaqueTrusted || attr == opaqueUser:
			c.differ(want.Name, "opaque marker", "not set", "set ("+attr+")")
		default:
			c.differ(want.Name, attr, "nothing", quoteValue(found[attr]))
		}
	}
	return nil
}

func (c *comparer) opaqueAttr() string {
	if c.v.format.UserXattr {
		return opaqueUser
	}
	return opaqueTrusted
}

// quoteValue shows the value of an attribute; of a long one the beginning.
func quoteValue(value string) string {
	const most = 64
	if len(value) > most {
		return fmt.Sprintf("%q… (%d bytes)", value[:most], len(value))
	}
	return fmt.Sprintf("%q", value)
}

// time compares the modification time as far as the file system keeps it.
func (c *comparer) time(want *imagetree.LowerFile, found time.Time) {
	if sec := want.ModTime.Unix(); c.kept.Times && (sec < 0 || sec > 1<<31-1) {
		return
	}
	for _, unit := range []int64{1, 100, 1e3, 1e6, 1e9} { // ns
		nsec := int64(want.ModTime.Nanosecond())
		if found.Unix() == want.ModTime.Unix() && int64(found.Nanosecond()) == nsec-nsec%unit {
			return
		}
	}
	c.p.diffs = append(c.p.diffs, Difference{
		Layer: c.p.index + 1, Name: slashed(want.Name), Attribute: "modification time", Warning: true,
		Expected: want.ModTime.UTC().Format(time.RFC3339Nano), Found: found.UTC().Format(time.RFC3339Nano),
	})
}
