package pull

import "time"

// splitRule says when a blob is worth more than one connection.
type splitRule struct {
	// window is how long the one connection is watched.
	window time.Duration
	// share is which part of that time, in percent, must have been spent in
	// waiting for the network. Where the consumer is slower, the network's
	// bytes lie ready when it comes for more.
	share int
	// rest is how long the remainder must take at the measured rate. Less is
	// soon over anyway.
	rest time.Duration
	// gain is the rate in percent of the single connection's that several
	// must reach together to be kept, once judge has passed.
	gain  int
	judge time.Duration
	// prove is how long the first of them may take to deliver something while
	// the one connection is still there to go on.
	prove time.Duration
}

// defaultSplitRule decides within the first second: at 20 MB/s, a window of
// 0.5 s costs a blob of 100 MiB a tenth of the time that one connection takes.
func defaultSplitRule() splitRule {
	return splitRule{
		window: 500 * time.Millisecond, share: 75, rest: time.Second,
		gain: 125, judge: 3 * time.Second, prove: 2 * time.Second,
	}
}

// maxForks is how often one blob is split anew after connections had failed.
const maxForks = 3

// meter measures how long a reader waits for its one connection. Without
// chances it does nothing.
type meter struct {
	rule    splitRule
	chances int // how often splitting may still be tried

	start  time.Time // of the window; zero: not begun
	began  time.Time // of the current read
	ended  time.Time // of the last one
	waited time.Duration
	bytes  int64
}

// begin and finish enclose a read of n bytes.
func (m *meter) begin() {
	if m.chances > 0 {
		m.began = time.Now()
	}
}

func (m *meter) finish(n int) {
	if m.chances > 0 {
		m.add(m.began, time.Now(), n)
	}
}

// add counts one read. The first only opens the window: it is about how long
// the answer took to begin.
func (m *meter) add(began, ended time.Time, n int) {
	m.ended = ended
	if m.start.IsZero() {
		m.start = ended
		return
	}
	m.waited += ended.Sub(began)
	m.bytes += int64(n)
}

// reset opens a new window with the next read.
func (m *meter) reset() { m.start, m.waited, m.bytes = time.Time{}, 0, 0 }

// worthSplitting reports, at the end of a window, whether the network is what
// the reader waited for and rest bytes will keep it waiting.
func (m *meter) worthSplitting(rest int64) bool {
	if m.chances == 0 || m.start.IsZero() || m.bytes == 0 {
		return false
	}
	elapsed := m.ended.Sub(m.start)
	if elapsed < m.rule.window {
		return false
	}
	if 100*m.waited >= time.Duration(m.rule.share)*elapsed && float64(rest) >= m.rate()*m.rule.rest.Seconds() {
		return true
	}
	m.reset()
	return false
}

// rate is what the window measured, in bytes a second.
func (m *meter) rate() float64 {
	return float64(m.bytes) / max(m.ended.Sub(m.start), time.Microsecond).Seconds()
}
