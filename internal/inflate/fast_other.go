//go:build !amd64

package inflate

func (d *Decoder) fast() state { return d.fastPortable() }

const canAside = false
