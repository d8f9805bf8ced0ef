package inflate

// SetPortable makes d do without assembly.
func (d *Decoder) SetPortable(portable bool) { d.portable = portable }
