// Package heed takes the signals that this process was not started to ignore.
//
// nohup(1) has a command ignore SIGHUP, and a shell without job control has its
// background commands ignore SIGINT. [signal.Notify] would take them all the
// same, and the command would end with the terminal that it was meant to
// outlive. Of every other signal the Go runtime itself forgets that it was ignored.
package heed

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// Notify is [signal.Notify] for those of all that this process heeds. It may be
// none, which means none.
func Notify(c chan<- os.Signal, all ...os.Signal) {
	if heeded := heeded(all); len(heeded) > 0 {
		signal.Notify(c, heeded...)
	}
}

// Context is [signal.NotifyContext] likewise. Its cause is a [SignalError].
func Context(parent context.Context, all ...os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	c := make(chan os.Signal, 1)
	Notify(c, all...)
	go func() {
		select {
		case s := <-c:
			if s, ok := s.(syscall.Signal); ok {
				cancel(&SignalError{Signal: s})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		signal.Stop(c)
	}
}

// SignalError says which signal ended a context. It is a [context.Canceled].
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return "stopped by signal: " + e.Signal.String() }

// Is makes the error a [context.Canceled].
func (e *SignalError) Is(target error) bool { return target == context.Canceled }

// heeded leaves out what this process was started to ignore.
func heeded(all []os.Signal) []os.Signal {
	return slices.DeleteFunc(slices.Clone(all), signal.Ignored)
}
