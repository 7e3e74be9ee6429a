package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// connector listens to the kernel's process connector.
type connector struct {
	file *os.File
	conn syscall.RawConn
	buf  []byte
	gaps gaps
	// early are events that came before the answer to the request to listen.
	early []kernelEvent
	done  chan struct{}
}

const (
	connectorBuffer = 4 << 20         // bytes in the kernel: about 5,000 events
	answerTimeout   = 2 * time.Second // the kernel answers at once, or not at all
)

var errNoAnswer = errors.New("no answer: the kernel was built without PROC_EVENTS, or this is not the initial pid, user and network namespace")

// openConnector listens. Whether that works is only known when the kernel has answered.
func openConnector() (*connector, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("open process connector: %w", err)
	}
	c := &connector{file: os.NewFile(uintptr(fd), "process connector"), buf: make([]byte, 64<<10), gaps: gaps{}, done: make(chan struct{})}
	if err := c.listen(fd); err != nil {
		c.file.Close()
		return nil, fmt.Errorf("open process connector: %w", err)
	}
	return c, nil
}

func (c *connector) listen(fd int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, connectorBuffer) != nil {
		// Without privileges there is a limit (net.core.rmem_max); a smaller buffer only overruns sooner, which is seen.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, connectorBuffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("no CAP_NET_ADMIN: %w", err)
		}
		return err
	}
	var err error
	if c.conn, err = c.file.SyscallConn(); err != nil {
		return err
	}
	if err := c.ask(mcastListen); err != nil {
		return err
	}
	return c.answer()
}

func (c *connector) ask(op uint32) (err error) {
	msg := appendKernelRequest(nil, op, requestNumber)
	werr := c.conn.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(err, unix.EAGAIN)
	})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("no CAP_NET_ADMIN, or no connector in this network namespace: %w", err)
	}
	return errors.Join(werr, err)
}

// answer waits for the answer to our request.
func (c *connector) answer() error {
	if err := c.file.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	defer c.file.SetReadDeadline(time.Time{})
	for {
		var found bool
		var code uint32
		err := c.read(func(e kernelEvent) bool {
			c.gaps.see(&e)
			switch {
			case e.happened():
				c.early = append(c.early, e)
			case e.what == eventNone && e.ack == requestNumber+1:
				found, code = true, e.err
			}
			return len(c.early) < maxBatch
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errNoAnswer
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return err
		case found && code != 0:
			return fmt.Errorf("listen: %w", unix.Errno(code))
		case found:
			return nil
		}
	}
}

// read waits until something is there, and gives the events of all that is there to f, which says whether it takes more.
// Only the kernel is listened to: others may send to our port, too.
func (c *connector) read(f func(kernelEvent) bool) error {
	var err error
	rerr := c.conn.Read(func(fd uintptr) bool {
		some, more := false, true
		for more {
			var n int
			var from unix.Sockaddr
			n, from, err = unix.Recvfrom(int(fd), c.buf, 0)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				err = nil
				return some
			case err != nil:
				return true
			}
			some = true
			if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid == 0 {
				parseKernelEvents(c.buf[:n], func(e kernelEvent) { more = f(e) && more })
			}
		}
		return true
	})
	return errors.Join(rerr, err)
}

// receive sends what comes, until close, which ends it with os.ErrClosed. While the other side is busy the kernel keeps
// what comes, up to a bound; beyond that it drops, and it is counted.
func (c *connector) receive(out chan<- kernelBatch) error {
	b := kernelBatch{events: c.early}
	take := func(e kernelEvent) bool {
		b.lost += int64(c.gaps.see(&e))
		if e.happened() {
			b.events = append(b.events, e)
		}
		return len(b.events) < maxBatch
	}
	for {
		if err := c.read(take); errors.Is(err, unix.ENOBUFS) {
			b.overrun = true
		} else if err != nil {
			select {
			case <-c.done:
				return os.ErrClosed
			default:
				return fmt.Errorf("read process connector: %w", err)
			}
		}
		if len(b.events) == 0 && !b.overrun && b.lost == 0 {
			continue
		}
		select {
		case out <- b:
		case <-c.done:
			return os.ErrClosed
		}
		b = kernelBatch{}
	}
}

// close ends listening.
func (c *connector) close() {
	_ = c.ask(mcastIgnore) // the kernel notices a closed socket as well
	close(c.done)
	c.file.Close()
}
