package inflate

// CanAside says whether the processor has what hashing aside takes.
var CanAside = canAside

// SetPortable makes d do without assembly.
func (d *Decoder) SetPortable(portable bool) { d.portable = portable }
