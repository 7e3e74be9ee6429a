// Package proc collects processes and sockets of a Linux host from /proc, without root, and from the kernel's process
// connector where that is allowed. It loads nothing into the kernel.
//
//	c, err := proc.New(proc.Defaults(), log)
//	…
//	err = c.Collect(ctx, spool)
//
// # What is seen
//
//	ProcessExec      1007/1  priority 0  a program was started; Snapshot for those found running at the start
//	ProcessFork      1007/1  priority 0  a process that ran the program of its parent for a second, or until its end
//	ProcessExit      1007/2  priority 0
//	FileActivity     1001/8  priority 1  the SHA-256 of an executable, once per file, when it was not known at its exec
//	NetworkActivity  4001/1  priority 1  a socket got a peer (open), 4001/7 waits for one (listen)
//	CollectorStatus          priority 0  the kernel's queue overran, or events could not be written: how many (suppressed)
//
// With the connector (variant netlink) every fork, exec and exit is seen as it happens, with exit codes. The connector
// needs CAP_NET_ADMIN (Linux 6.6 lets everyone listen), and the initial pid, user and network namespaces; whether it can be
// had is found out by trying.
//
// Without it (variant procfs) /proc is listed every 250 ms to 1 s, sooner when something happens. What lives shorter is
// missed, exit codes are known only of zombies. Either way an exec in place of another program is recognised by its
// stack address, which is drawn anew by each exec, where it may be read.
//
// Sockets are listed every two seconds, or up to every thirty where that is costly, in each network namespace that a
// visible process lives in. Shorter connections are missed. Those that another user owns have no process without
// CAP_SYS_PTRACE, but a user.
//
// What could not be read of a process is in Process.Incomplete, with the reason. A process that was gone before it could be
// read gives an exec with its ids and parent (path:ended); with name and owner, too, if its parent had not waited for it yet.
// Of a program that started another one before it could be read (path:replaced) the exec is told as well, with the time at
// which it happened; if what was read was taken for it first, its exec comes after that of the program in its place. Where
// others' processes may not be read (path:denied) the name of the kernel, 15 bytes, remains.
//
// A process is read through its open folder: another one that gets its pid meanwhile cannot lend it its facts. Names and
// arguments may be any bytes; those that are not UTF-8 are written as \xNN.
//
// Threads and kernel threads are no processes. The collector's own process is reported once, when it is found, and its end
// is not; its sockets are left out. It is known by pid and start time, so that nothing else can hide behind it.
//
// # Identity
//
// A process is its pid and its start time in clock ticks since boot; its uid is a hash of these, the host and the boot, so
// it is the same whenever the collector restarts, and does not change with the clock. CreatedTime is the start in wall time:
// ticks of 10 ms since the boot, by the clocks as they were when the collector started.
//
// # Cost
//
// Each of the two periodic jobs waits for a hundred times as long as it took last, so that it costs at most 1 % of a core;
// but not for more than fifteen times its interval. On a machine where little starts and connects both cost far less. TCP
// sockets are listed when the kernel's counters say that there is a new one. Executables are hashed in the background at
// Config.HashRate, from a file that was opened at the exec, so that a file that is removed meanwhile is hashed all the
// same.
//
// Beside the connector each program that starts is read once, at the cost of about a dozen system calls: so the cost follows
// the rate at which programs start. TestBudget measures it, and BenchmarkHash what hashing costs:
//
//	AMOSKYS_BUDGET=1 go test ./collectors/proc -run '^TestBudget$' -v -timeout 30m
//
// # Secrets
//
// Arguments are cut at Config.MaxArgs bytes and secrets in them are masked by Config.Masks before they leave this package.
package proc
