package imagetree

// mergeDirs moves the content of the directory src into the directory dst of
// the same layer. st and dt say what is implicit in each; src is gone then.
func mergeDirs(src, dst *node, st, dt *implicit) {
	if src.dir.opaque {
		dst.dir.opaque = true
		forgetKids(dst, dt)
	}
	for name, from := range src.dir.kids {
		mergeName(from, dst, name, st, dt)
	}
	src.dir.kids, src.dir.gone = nil, true
}

// mergeName moves one name. Where dst has it too, a whiteout only hides what
// is below, directories become one, and anything else of dst stays, because
// it was named there itself.
func mergeName(from, dst *node, name string, st, dt *implicit) {
	to := dst.dir.kids[name]
	switch {
	case to == nil:
		moveName(from, dst, name, st, dt)
	case from.isDir() && to.isDir():
		mergeSub(from, to, name, st, dt)
	case from.isWhiteout() && to.isDir():
		to.dir.opaque = true
		forget(dst, name, dt)
	case to.isWhiteout() && from.isDir():
		moveName(from, dst, name, st, dt)
		from.dir.opaque = true
		forget(dst, name, dt)
	case to.isWhiteout():
		moveName(from, dst, name, st, dt)
	default:
		bury(from)
	}
}

// moveName moves a name that dst lacks, and what is known of it.
func moveName(from, dst *node, name string, st, dt *implicit) {
	dst.dir.put(name, from)
	if known := st.kid(name); known != nil {
		dt.put(name, known)
		delete(st.kids, name)
	}
}

// mergeSub merges a directory that both have. An entry of its own beats none.
func mergeSub(from, to *node, name string, st, dt *implicit) {
	sub := dt.at(name)
	// Implicit directories that the layer itself hides from those below are
	// not marked; they are known by their attributes.
	if st.kid(name).is() == stateExplicit && !from.isPlain() && (sub.state != stateExplicit || to.isPlain()) {
		to.xattrs = nil // those of the layers below
		copyMeta(from, to)
		to.ordinal, to.dir.implicit = from.ordinal, from.dir.implicit
		sub.state = stateExplicit
	}
	mergeDirs(from, to, st.kid(name), sub)
}

// forget takes back what the layers below said about the implicit directory
// name and those in it, because the layer turns out to hide them.
func forget(parent *node, name string, dt *implicit) {
	t, n := dt.kid(name), parent.dir.kids[name]
	if t == nil || n == nil || !n.isDir() {
		return // the tree of names may hold some that moved
	}
	if t.state != stateExplicit {
		t.state = stateSettled
		n.setPlain()
	}
	forgetKids(n, t)
}

func forgetKids(n *node, t *implicit) {
	for name := range t.kids {
		forget(n, name, t)
	}
}
