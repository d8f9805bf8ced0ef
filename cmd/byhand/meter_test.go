package main

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	var m meter
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	if got := m.textAt(at(0), workPull); got != "checking" {
		t.Errorf("nothing to fetch: %q", got)
	}
	m.setAt(at(0), 0, 1000e6)
	if got := m.textAt(at(0.1), workPull); got != "fetching" {
		t.Errorf("no rate is known yet: %q", got)
	}
	for s := 1; s <= 10; s++ {
		m.setAt(at(float64(s)), int64(s)*10e6, 1000e6)
	}
	if got, want := m.textAt(at(10), workPull), "10 MB/s  1m 31s left"; got != want && got != "10.0 MB/s  1m 30s left" && got != "10 MB/s  1m 30s left" {
		t.Errorf("steady: %q, expected about %q", got, want)
	}
	// It follows within the window.
	for s := 11; s <= 20; s++ {
		m.setAt(at(float64(s)), int64(100e6)+int64(s-10)*50e6, 1000e6)
	}
	if rate := m.rate(at(20)); rate < 45e6 || rate > 55e6 {
		t.Errorf("faster: %.0f bytes a second, expected 50 MB", rate)
	}
	// Nothing comes any more.
	if rate := m.rate(at(3000)); rate > 1e6 {
		t.Errorf("stalled: %.0f bytes a second", rate)
	}
	if len(m.samples) > 30 {
		t.Errorf("%d samples kept", len(m.samples))
	}
}

func TestRemaining(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                              "1s left",
		59 * time.Second:               "60s left",
		61 * time.Second:               "1m 01s left",
		time.Hour + 62*time.Second:     "1h 01m left",
		1000 * time.Hour:               "days left",
		25*time.Hour + 10*time.Minute:  "25h 10m left",
		59*time.Minute + 3*time.Second: "59m 03s left",
	} {
		if got := remaining(d); got != want {
			t.Errorf("%s: %q, expected %q", d, got, want)
		}
	}
}
