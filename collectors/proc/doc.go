// Package proc collects what the processes of a Linux machine do, from /proc, without privileges: programs that start and
// processes that end, with arguments, user, executable, container and parent; and the sockets they open.
//
// With CAP_NET_ADMIN it listens to the kernel's process connector (netlink, Documentation/driver-api/connector.rst), so that
// processes that live for less than a scan are seen too. Without it, it polls, and says in its capabilities that short
// processes are missed. Sockets are polled either way.
//
// A process is identified by its id and its start time in clock ticks since boot: an id alone is used again.
package proc
