// Package loadgen generates process events for benchmarks: the events of some hosts on which programs start, fork, end,
// write files and connect, for ever, the same for a seed. It is what the chain benchmark preloads its log with.
//
//	g := loadgen.New(loadgen.Config{Seed: 1})
//	for range 1_000_000 {
//		e := g.Next() // valid until the following call
//		…
//	}
//
// Every event has a whole envelope, gap-free sequence numbers for each host, and the uid, pid, parent and start time of a
// process that runs: nothing exits twice, acts after its end or comes from nowhere. Event time advances evenly at the
// configured rate. The generator is no bottleneck: about 0.3 µs and one allocation for each event on one core.
//
// # Where the shapes come from
//
// What costs a processing chain is variety: how many programs, edges, command lines and paths there are and how unevenly
// they come. These figures were measured, in four places:
//
//	A  a Linux build machine: a configure-like script, make of 121 C files, git, go build, Python subprocesses and dpkg,
//	   seen by the netlink process connector for 18 s; 1,489 forks, 1,621 execs, 1,490 exits; files by strace
//	B  the same machine in use by others for 88 s; 824 forks, 761 execs, 820 exits
//	C  carbanak-h3: 429,711 events of a Windows workstation in 8 hours; 2,636 processes
//	D  OTRF Security-Datasets: the 1,408 process starts of Sysmon in 89 Windows recordings
//
//	                                  A         B         C           D          here
//	execs : forks : exits             35:32:32  32:34:34                         29:28:28
//	forks without exec                5 %       19 %                             13 %
//	processes without children        82 %      81 %      90 %        78 %       86 %
//	children of those that have some  1-4, and hubs with up to 243 (A) and 282 (C)  1-20, and 16 hubs
//	distinct programs                 40        38        172         175        175
//	their Zipf exponent               1.15      1.45      1.20        1.10       1.2
//	distinct parent-child edges       54        47        183         271        about 330
//	lifetime, 95 % over median        25        175       38          173        58 (in events)
//	arguments, median and 95 %        10, 29    3, 13                            6, 25
//	bytes of arguments, 50, 95, 99 %  66, 588, 1514   81, 323, 1273   57, 359, 5126 (D)   88, 440, 763
//	distinct command lines                                            49 %       about half, see TestHalfOfCommandLinesAreDistinct
//	depth of program paths, 50, 95 %  3, 7      7, 7      3, 6                   3, 7
//	Zipf exponent of files                                0.50 (38,704 files)    0.5 (32,768)
//	Zipf exponent of remote sockets                       0.50 (1,175 sockets)   0.5 (1,175)
//	file changes                      create or update 70 %, delete 30 %, rename 0.4 %   the same
//	exit codes 0, 1                   97, 2 %   96, 3 %                          97, 3 %
//
// The exponents are maximum-likelihood estimates over the ranks that occur.
//
// # What was not measured
//
// The mix of process, file and network events depends on what a collector reports. A has 3.2 changes of files for each
// process and no connections; C has 35 for each process, and 1.4 connections. Here process events dominate, since the
// benchmark is about them: exec 29, fork 28, exit 28, file 10, network 5. Forks and exits are equal, as A and B show and
// a steady number of processes demands. Ports, protocols and which process acts (half the time one of the hubs) are
// assumptions. So is the number of processes on a host, 200.
package loadgen
