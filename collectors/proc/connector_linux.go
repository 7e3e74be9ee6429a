package proc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// The process connector, include/uapi/linux/{connector,cn_proc}.h.
const (
	cnIdxProc   = 1
	cnValProc   = 1
	mcastListen = 1
	whatFork    = 0x00000001
	whatExec    = 0x00000002
	whatExit    = 0x80000000
	nlHeader    = 16
	cnHeader    = 20
	evHeader    = 16
)

// kernelEvent is an event of the process connector.
type kernelEvent struct {
	what      uint32
	pid, tgid int64 // of the process; for a fork of the child
	parent    int64 // of a fork: process id of the parent
	code      int32
	overrun   bool // events were lost before this one
}

// parseKernelEvents reads a datagram of netlink messages.
func parseKernelEvents(b []byte) (out []kernelEvent, err error) {
	for len(b) >= nlHeader {
		n := int(binary.NativeEndian.Uint32(b))
		if n < nlHeader || n > len(b) {
			return out, errFormat
		}
		if e, ok := parseKernelEvent(b[nlHeader:n]); ok {
			out = append(out, e)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return out, nil
}

func parseKernelEvent(b []byte) (e kernelEvent, ok bool) {
	if len(b) < cnHeader+evHeader+8 || binary.NativeEndian.Uint32(b) != cnIdxProc {
		return e, false
	}
	e.what = binary.NativeEndian.Uint32(b[cnHeader:])
	d := b[cnHeader+evHeader:]
	at := func(i int) int64 { return int64(int32(binary.NativeEndian.Uint32(d[4*i:]))) }
	switch {
	case e.what == whatFork && len(d) >= 16:
		e.parent, e.pid, e.tgid = at(1), at(2), at(3)
	case e.what == whatExec:
		e.pid, e.tgid = at(0), at(1)
	case e.what == whatExit && len(d) >= 16:
		e.pid, e.tgid, e.code = at(0), at(1), int32(at(2))
	default:
		return e, false
	}
	return e, true
}

func openConnector() (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR); err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // without the right to force it the default stays
	b := make([]byte, nlHeader+cnHeader+4)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_DONE)
	binary.NativeEndian.PutUint32(b[nlHeader:], cnIdxProc)
	binary.NativeEndian.PutUint32(b[nlHeader+4:], cnValProc)
	binary.NativeEndian.PutUint16(b[nlHeader+16:], 4)
	binary.NativeEndian.PutUint32(b[nlHeader+cnHeader:], mcastListen)
	if err = unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return -1, err
	}
	tv := unix.NsecToTimeval((200 * time.Millisecond).Nanoseconds())
	return fd, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
}

// connectorProbe says why there is no process connector; nil when there is.
func connectorProbe() error {
	fd, err := openConnector()
	if errors.Is(err, unix.EPERM) {
		return errors.New("no CAP_NET_ADMIN")
	}
	if err != nil {
		return fmt.Errorf("this kernel has none: %w", err)
	}
	return unix.Close(fd)
}

// connect starts to receive kernel events; the channel is nil without a connector.
func (c *Collector) connect(ctx context.Context) (<-chan kernelEvent, func(), error) {
	if c.connErr != nil {
		return nil, nil, nil
	}
	fd, err := openConnector()
	if err != nil {
		return nil, nil, err
	}
	out, done := make(chan kernelEvent, 65_536), make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(done)
		defer unix.Close(fd)
		receive(ctx, fd, out)
	}()
	return out, func() { cancel(); <-done }, nil
}

func receive(ctx context.Context, fd int, out chan<- kernelEvent) {
	buf := make([]byte, 64<<10)
	lost := false
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			lost = true
			continue
		case err != nil:
			return
		}
		es, _ := parseKernelEvents(buf[:n])
		for _, e := range es {
			e.overrun, lost = lost, false
			select {
			case out <- e:
			default: // the reader is behind: a scan finds what still runs
				lost = true
			}
		}
	}
}

// kernelEvents takes an event and what has come with it, so that a burst is appended at once.
func (c *Collector) kernelEvents(ctx context.Context, e kernelEvent, more <-chan kernelEvent) error {
	overrun := false
	for n := 0; ; n++ {
		overrun = overrun || e.overrun
		c.kernelEvent(e)
		if n >= 1000 {
			break
		}
		select {
		case e = <-more:
			continue
		default:
		}
		break
	}
	if overrun {
		c.events = append(c.events, c.overrun())
		return c.scan(ctx, false)
	}
	return c.flush(ctx)
}

func (c *Collector) kernelEvent(e kernelEvent) {
	if e.pid != e.tgid {
		return // a thread
	}
	now := c.now().UnixNano()
	switch e.what {
	case whatExec:
		s, err := c.m.stat(e.pid)
		if err != nil {
			c.vanished(e.pid, now)
			return
		}
		c.exec(s, false, now)
	case whatExit:
		if k, ok := c.known[e.pid]; ok {
			c.exit(e.pid, k, e.code, now)
		}
	case whatFork:
		c.fork(e, now)
	}
}
