package testdaemon_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/byhand/byhand/internal/testdaemon"
)

const addrEnv = "BYHAND_TEST_ADDR"

// TestMain is a server, too.
func TestMain(m *testing.M) {
	if addr := os.Getenv(addrEnv); addr != "" {
		os.Exit(serve(addr))
	}
	os.Exit(m.Run())
}

func serve(addr string) int {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for {
		if conn, err := ln.Accept(); err == nil {
			_, _ = conn.Write([]byte("mine"))
			_ = conn.Close()
		}
	}
}

// TestStart has the first two ports taken by somebody else, who answers.
func TestStart(t *testing.T) {
	tries := 0
	d := testdaemon.Start(t, func(addr string) *exec.Cmd {
		if tries++; tries <= 2 {
			ln, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ln.Close() })
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), addrEnv+"="+addr)
		return cmd
	})
	if tries != 3 {
		t.Errorf("%d tries, want 3", tries)
	}
	conn, err := net.Dial("tcp", d.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	said := make([]byte, 4)
	if _, err := conn.Read(said); err != nil || string(said) != "mine" {
		t.Errorf("read %q, %v", said, err)
	}
	d.Stop()
	d.Stop()
	if conn, err := net.Dial("tcp", d.Addr); err == nil {
		_ = conn.Close()
		t.Error("it still answers")
	}
}
