package main

import (
	"fmt"
	"sync"
	"time"
)

// meter tells from how bytes come in how fast they do, and how long it takes
// until all are there.
type meter struct {
	mu       sync.Mutex
	got, all int64
	samples  []sample // of the last few seconds, oldest first
}

type sample struct {
	at  time.Time
	got int64
}

// meterWindow is how far back the rate looks: long enough to be readable,
// short enough to follow.
const meterWindow = 5 * time.Second

func (m *meter) set(got, all int64) { m.setAt(time.Now(), got, all) }

func (m *meter) setAt(now time.Time, got, all int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got, m.all = got, all
	if n := len(m.samples); n > 0 && now.Sub(m.samples[n-1].at) < meterWindow/20 {
		return
	}
	m.samples = append(m.samples, sample{now, got})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) > meterWindow {
		m.samples = m.samples[1:]
	}
}

// rate is in bytes a second, 0 as long as it is not known.
func (m *meter) rate(now time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) == 0 {
		return 0
	}
	first := m.samples[0]
	elapsed := now.Sub(first.at)
	if elapsed < time.Second/2 {
		return 0
	}
	return float64(m.got-first.got) / elapsed.Seconds()
}

// rateText is the rate, or as long as it is not known what is being done.
func (m *meter) rateText(w work) string { return rateText(m.rate(time.Now()), w) }

func rateText(rate float64, w work) string {
	if rate <= 0 {
		return w.coming()
	}
	return size(int64(rate)) + "/s"
}

// text is the rate and the time that is left.
func (m *meter) text(w work) string { return m.textAt(time.Now(), w) }

func (m *meter) textAt(now time.Time, w work) string {
	rate := m.rate(now)
	m.mu.Lock()
	left := m.all - m.got
	m.mu.Unlock()
	switch {
	case left <= 0:
		return w.there()
	case rate <= 0:
		return w.coming()
	}
	return rateText(rate, w) + "  " + remaining(time.Duration(float64(left)/rate*float64(time.Second)))
}

// remaining is a time to wait, as exact as anybody wants to know.
func remaining(d time.Duration) string {
	switch {
	case d > 99*time.Hour:
		return "days left"
	case d > time.Hour:
		return fmt.Sprintf("%dh %02dm left", int(d.Hours()), int(d.Minutes())%60)
	case d > time.Minute:
		return fmt.Sprintf("%dm %02ds left", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds left", int(d.Seconds())+1)
}
