package inflate

// Gunzip decodes gzip members, one after the other, until something else or
// the end follows. It reports whether something other than zeros follows; that
// is not an error.
func (d *Decoder) Gunzip() (trailing bool, err error) {
	if err := d.start(); err != nil {
		return false, err
	}
	defer d.Pause()
	for {
		if err := d.header(); err != nil {
			return false, err
		}
		if err := d.inflate(); err != nil {
			return false, err
		}
		d.drop(d.n & 7)
		for range 2 { // CRC and length: see the package comment
			if _, err := d.bits(32); err != nil {
				return false, err
			}
		}
		if d.fill(24); d.n < 24 || d.hold&0xffffff != magic {
			break
		}
	}
	if err := d.finish(); err != nil {
		return false, err
	}
	return d.trailing(), nil
}

// Inflate decodes one deflate stream without a frame. It reads up to 7 bytes
// further than that.
func (d *Decoder) Inflate() error {
	if err := d.start(); err != nil {
		return err
	}
	defer d.Pause()
	if err := d.inflate(); err != nil {
		return err
	}
	return d.finish()
}

// magic is how a member begins: two fixed bytes and the method, deflate.
const magic = 0x088b1f

// Flags of a member's header (RFC 1952, 2.3.1).
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// header reads a member's header.
func (d *Decoder) header() error {
	v, err := d.bits(32)
	if err != nil {
		return err
	}
	if v&0xffffff != magic {
		return ErrCorrupt
	}
	flags := v >> 24
	if err := d.skip(6); err != nil { // time, extra flags, system
		return err
	}
	if flags&flagExtra != 0 {
		n, err := d.bits(16)
		if err != nil {
			return err
		}
		if err := d.skip(int(n)); err != nil {
			return err
		}
	}
	for _, text := range []uint32{flagName, flagComment} {
		for flags&text != 0 {
			c, err := d.bits(8)
			if err != nil {
				return err
			}
			if c == 0 {
				break
			}
		}
	}
	if flags&flagHeaderCRC != 0 {
		return d.skip(2)
	}
	return nil
}

// skip reads n bytes.
func (d *Decoder) skip(n int) error {
	for range n {
		if _, err := d.bits(8); err != nil {
			return err
		}
	}
	return nil
}

// trailing looks for bytes other than zero up to the end of the input or the
// first of them.
func (d *Decoder) trailing() bool {
	d.fill(56)
	if d.hold != 0 {
		return true
	}
	for d.more() {
		for ; d.pos < len(d.in); d.pos++ {
			if d.in[d.pos] != 0 {
				return true
			}
		}
	}
	return false
}
