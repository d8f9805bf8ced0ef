//go:build !amd64

package sha256pair

type constants struct{}

var table constants

func hasSHA() bool { return false }

func blocks2(_, _ *[stateSize]uint32, _, _ *byte, _ int, _ *constants) {
	panic("sha256pair: there are no SHA instructions") // Available said so
}
