// Package demo makes the demo image: a small OCI image of several layers that
// has one of each thing a layer can do (a whiteout, an opaque directory, hard
// and symbolic links, implied directories, a file replaced) and one of each
// thing a config can say (a user by name, environment, working directory,
// volume, labels). Its program looks at them from inside and says whether they
// came out right.
//
// The image is made from source, without any tool but Go, and for one version
// of Go its bytes are always the same.
package demo
