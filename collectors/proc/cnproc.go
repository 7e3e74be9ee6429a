package proc

import "encoding/binary"

// The process connector, from include/uapi/linux/{netlink,connector,cn_proc}.h. All numbers are in the byte order of the
// machine.
//
//	nlmsghdr    len u32, type u16, flags u16, seq u32, pid u32
//	cn_msg      idx u32, val u32, seq u32, ack u32, len u16, flags u16
//	proc_event  what u32, cpu u32, timestamp_ns u64, data
//
// The seq of an event counts the events of its CPU, answers included, so that a gap says how many were lost. Before Linux 4.7
// an answer has no CPU and no number.
const (
	nlHeaderLen    = 16
	cnHeaderLen    = 20
	eventHeaderLen = 16

	nlDone = 3 // NLMSG_DONE

	cnIdxProc = 1 // CN_IDX_PROC, also the multicast group
	cnValProc = 1 // CN_VAL_PROC

	requestNumber = 0x616d6f73 // tells the answer to our request from others'

	mcastListen = 1 // PROC_CN_MCAST_LISTEN
	mcastIgnore = 2 // PROC_CN_MCAST_IGNORE

	noCPU     = 1<<32 - 1
	eventNone = 0 // the answer to a request
	eventFork = 0x00000001
	eventExec = 0x00000002
	eventExit = 0x80000000
)

// kernelEvent is one event of the connector.
type kernelEvent struct {
	what   uint32
	cpu    uint32
	seq    uint32
	ack    uint32 // of an answer: one more than that of the request
	time   int64  // ns on the monotonic clock
	pid    int64  // thread: of a fork, the new one
	tgid   int64  // its process
	parent int64  // process that forked
	status uint32
	err    uint32 // of an answer
}

// happened says whether the event is one that processes are followed by.
func (e *kernelEvent) happened() bool {
	return e.what == eventFork || e.what == eventExec || e.what == eventExit
}

// kernelBatch is what came from the connector at once.
type kernelBatch struct {
	events  []kernelEvent // forks, execs and exits
	lost    int64         // events of any kind that did not come
	overrun bool          // the kernel says that it dropped some
}

// maxBatch bounds the events that are taken at once.
const maxBatch = 1024

// parseKernelEvents reads a datagram of the connector and gives each event of a kind that is known to f.
func parseKernelEvents(b []byte, f func(kernelEvent)) {
	order := binary.NativeEndian
	for len(b) >= nlHeaderLen {
		n := int(order.Uint32(b))
		if n < nlHeaderLen || n > len(b) {
			return
		}
		if order.Uint16(b[4:]) == nlDone {
			if e, ok := parseKernelEvent(b[nlHeaderLen:n]); ok {
				f(e)
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
}

func parseKernelEvent(b []byte) (e kernelEvent, ok bool) {
	order := binary.NativeEndian
	if len(b) < cnHeaderLen+eventHeaderLen || order.Uint32(b) != cnIdxProc || order.Uint32(b[4:]) != cnValProc {
		return e, false
	}
	e.seq, e.ack = order.Uint32(b[8:]), order.Uint32(b[12:])
	n := int(order.Uint16(b[16:]))
	b = b[cnHeaderLen:]
	if n < eventHeaderLen || n > len(b) {
		return e, false
	}
	e.what, e.cpu, e.time = order.Uint32(b), order.Uint32(b[4:]), int64(order.Uint64(b[8:]))
	data := b[eventHeaderLen:n]
	word := func(i int) uint32 {
		if len(data) < 4*i+4 {
			return 0
		}
		return order.Uint32(data[4*i:])
	}
	pid := func(i int) int64 { return int64(int32(word(i))) }
	switch e.what {
	case eventNone:
		e.err = word(0)
	case eventFork: // parent thread, parent, child thread, child
		e.parent, e.pid, e.tgid = pid(1), pid(2), pid(3)
		return e, len(data) >= 16
	case eventExec:
		e.pid, e.tgid = pid(0), pid(1)
		return e, len(data) >= 8
	case eventExit: // thread, process, status, signal to the parent; newer kernels add the parent
		e.pid, e.tgid, e.status = pid(0), pid(1), word(2)
		return e, len(data) >= 12
	}
	return e, true
}

// appendKernelRequest appends a message that asks the connector to begin or to end sending.
func appendKernelRequest(b []byte, op, number uint32) []byte {
	order := binary.NativeEndian
	b = order.AppendUint32(b, nlHeaderLen+cnHeaderLen+4)
	b = order.AppendUint16(b, nlDone)
	b = order.AppendUint16(b, 0)
	b = order.AppendUint32(b, number)
	b = order.AppendUint32(b, 0)
	for _, v := range [...]uint32{cnIdxProc, cnValProc, number, number} {
		b = order.AppendUint32(b, v)
	}
	b = order.AppendUint16(b, 4)
	b = order.AppendUint16(b, 0)
	return order.AppendUint32(b, op)
}

// gaps counts events that were lost, by the numbers of those that came.
type gaps map[uint32]uint32 // by CPU: the number that is to come

// see takes the number of an event and says how many are missing before it.
func (g gaps) see(e *kernelEvent) (lost uint32) {
	if e.cpu == noCPU {
		return 0
	}
	want, ok := g[e.cpu]
	g[e.cpu] = e.seq + 1
	if !ok {
		return 0
	}
	if lost = e.seq - want; lost > 1<<30 { // behind, not ahead: the order of one CPU's events is not ours to judge
		return 0
	}
	return lost
}
