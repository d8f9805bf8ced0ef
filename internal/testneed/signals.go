package testneed

import (
	"os"
	"os/signal"
	"syscall"
)

// HeedSignals has the programs that tests start take SIGHUP and SIGINT in the
// usual way where this process was started to ignore them: by nohup(1), or in
// the background of a shell without job control, as a CI may be. A test that
// sends them calls it first, in its TestMain.
func HeedSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			// A signal with a handler has its default action in a child.
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}
