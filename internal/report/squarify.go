package report

import (
	"cmp"
	"math"
	"slices"
)

// box is a rectangle of the static map.
type box struct{ x, y, w, h float64 }

// squarify divides area among sizes, which are in falling order and sum up to
// more than 0, into rectangles that are as square as they can be made row by
// row (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000). The script does
// the same.
func squarify(sizes []float64, area box) []box {
	var total float64
	for _, s := range sizes {
		total += s
	}
	out := make([]box, 0, len(sizes))
	scale := area.w * area.h / total
	for len(sizes) > 0 {
		short := min(area.w, area.h)
		n, row := 1, sizes[0]*scale
		for n < len(sizes) {
			next := row + sizes[n]*scale
			if worst(sizes[0]*scale, sizes[n]*scale, next, short) > worst(sizes[0]*scale, sizes[n-1]*scale, row, short) {
				break
			}
			row = next
			n++
		}
		out, area = layRow(out, sizes[:n], scale, row, area)
		sizes = sizes[n:]
	}
	return out
}

// worst is the worst ratio of sides in a row of that sum along a side.
func worst(largest, smallest, sum, side float64) float64 {
	if smallest == 0 || sum == 0 {
		return math.Inf(1)
	}
	return max(side*side*largest/(sum*sum), sum*sum/(side*side*smallest))
}

func layRow(out []box, sizes []float64, scale, row float64, area box) ([]box, box) {
	if area.w >= area.h {
		w, y := row/area.h, area.y
		for _, s := range sizes {
			h := s * scale / w
			out = append(out, box{area.x, y, w, h})
			y += h
		}
		return out, box{area.x + w, area.y, max(area.w-w, 0), area.h}
	}
	h, x := row/area.w, area.x
	for _, s := range sizes {
		w := s * scale / h
		out = append(out, box{x, area.y, w, h})
		x += w
	}
	return out, box{area.x, area.y + h, area.w, max(area.h-h, 0)}
}

// bySize returns the kids that have bytes, the largest first.
func (s *shown) bySize() []*shown {
	var list []*shown
	for _, k := range s.kids {
		if k.bytes > 0 {
			list = append(list, k)
		}
	}
	slices.SortStableFunc(list, func(a, b *shown) int { return cmp.Compare(b.bytes, a.bytes) })
	return list
}
