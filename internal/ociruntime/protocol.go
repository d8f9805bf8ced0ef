package ociruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// supervisorArg is the hidden first argument of the supervisor.
const supervisorArg = "__oci-supervisor"

// Descriptors that the supervisor inherits beyond standard streams, which are
// the container's.
const (
	controlFD = 3 + iota // SOCK_SEQPACKET, messages both ways
	requestFD            // memfd with the request
	ttyFD                // only with a terminal: the caller's
)

// request is everything the supervisor has to know.
type request struct {
	Runtime   string
	Bundle    string
	ID        string
	StateDir  string
	Prepare   json.RawMessage `json:",omitempty"`
	Terminal  bool
	PIDNS     bool          // the supervisor is the first process of a pid namespace
	Private   bool          // and has a mount namespace
	Size      *unix.Winsize `json:",omitempty"`
	Restore   *unix.Termios `json:",omitempty"` // the terminal as it was
	Raw       *unix.Termios `json:",omitempty"` // and as Run makes it
	Cgroups   []string      // directories that the runtime may make
	HideMount string        `json:",omitempty"` // covered with an empty tmpfs
}

// message is one packet on the control socket.
type message struct {
	Kind   kind
	Signal int    `json:",omitempty"` // kindSignal, kindEnd
	Code   int    `json:",omitempty"` // kindEnded, kindFailed
	Op     string `json:",omitempty"` // kindFailed
	Text   string `json:",omitempty"` // kindFailed
}

type kind string

const (
	// Caller to supervisor.
	kindSignal kind = "signal"
	kindEnd    kind = "end"  // whatever the container makes of the signal
	kindStop   kind = "stop" // suspend every process of the container
	kindCont   kind = "cont"
	// Supervisor to caller.
	kindStopped kind = "stopped"
	kindConsole kind = "console" // carries the pseudo-terminal's master
	kindStarted kind = "started"
	kindEnded   kind = "ended"
	kindFailed  kind = "failed"
)

// maxText bounds what a failing runtime can make us repeat.
const maxText = 4096

// conn is one end of the control socket.
type conn struct{ c *net.UnixConn }

// newConn takes ownership of f.
func newConn(f *os.File) (*conn, error) {
	c, err := net.FileConn(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("open control socket: not a Unix socket")
	}
	return &conn{u}, nil
}

func (c *conn) close() { _ = c.c.Close() }

// send writes one message, with a descriptor if file is not nil.
func (c *conn) send(m message, file *os.File) error {
	if len(m.Text) > maxText {
		m.Text = m.Text[:maxText]
	}
	packet, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	if _, _, err := c.c.WriteMsgUnix(packet, rights, nil); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// receive reads one message; io.EOF when the other side has gone.
func (c *conn) receive() (message, *os.File, error) {
	packet := make([]byte, 64<<10)
	rights := make([]byte, unix.CmsgSpace(4))
	n, rn, flags, _, err := c.c.ReadMsgUnix(packet, rights)
	if err != nil {
		return message{}, nil, fmt.Errorf("receive message: %w", err)
	}
	if n == 0 {
		return message{}, nil, io.EOF
	}
	file := passedFile(rights[:rn])
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return message{}, file, errors.New("receive message: truncated")
	}
	var m message
	if err := json.Unmarshal(packet[:n], &m); err != nil {
		return message{}, file, fmt.Errorf("receive message: %w", err)
	}
	return m, file, nil
}

// passedFile returns the descriptor of a control message, or nil.
func passedFile(rights []byte) *os.File {
	scms, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	for i := range scms {
		fds, err := unix.ParseUnixRights(&scms[i])
		if err != nil || len(fds) == 0 {
			continue
		}
		for _, extra := range fds[1:] {
			_ = unix.Close(extra)
		}
		unix.CloseOnExec(fds[0])
		return os.NewFile(uintptr(fds[0]), "console")
	}
	return nil
}

// writeRequest returns a descriptor from which the request can be read.
func writeRequest(r request) (*os.File, error) {
	fd, err := unix.MemfdCreate("byhand-request", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create request: %w", err)
	}
	f := os.NewFile(uintptr(fd), "request")
	err = json.NewEncoder(f).Encode(r)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("create request: %w", err)
	}
	return f, nil
}
