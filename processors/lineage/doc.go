// Package lineage knows every process of every host, and tells of each activity who acted, who its ancestors are, and what
// of it the host has never seen before.
//
// # Identity
//
// A process is known by its uid. Events that carry only a pid find the process that had it at their time. What happens
// before the start of a process was seen, because it was running before the collector or because events come out of order,
// makes a placeholder, which its exec fills when it comes, also when a source with pids only was ahead of one with uids by a
// whole life. A start under a pid whose process was never seen ending ends that one. On Windows, where a process runs one
// program from start to end, an event that names another program is of another process, whatever pid or uid it gives.
//
// A process that is known by its pid alone is marked (created_time:unrecorded in Process.Incomplete) until its start becomes
// known. The marks of a source are kept, and taken away from what another event tells. A program of which the path is missing
// this once, since it ended or was replaced before it could be read, is no first sight: under its bare name one that runs
// every day would pass for a new one. Nor does it take the place of a program that was told first and started later.
//
// # Records
//
// An exec gives one record, and so does an exit whose process wrote anything before. A fork gives a process with its
// parent's image and no record. Every other activity gives at most one, by this rule: it is written if
//
//   - it is the first of its (executable, kind, activity, object template) on the host, or
//   - no more than Config.Repeats of its object were written by the process before, or
//   - a minute of event time has passed since the process's last record of this kind.
//
// All others are only counted, and the count is in the next record of their kind, or in the exit: nothing is lost but the
// wording of repeats. The object of the second clause is the template for files, registry keys, modules, names and target
// processes, and address and port for networks, so that a scan shows. It is counted in a count-min sketch of 2x64 four-bit
// cells (Cormode and Muthukrishnan 2005, with conservative update), so that a process writes about 500 records of distinct
// objects in its life, and beyond these what is new on the host and one a minute and kind. The same exec told again, by a
// second source within two seconds or by a scan, is counted as well.
//
// # First seen
//
// FirstExec, FirstEdge (parent and executable) and FirstObject compare templates of paths, see package paths: a test binary
// in a new temporary directory is no new executable. A host remembers Config.MaxFacts of them. When they are more, those
// that were not used for longest are forgotten, a sixteenth at a time; a fact in use is moved to the front when it has
// fallen behind by half of the bound, so that daily business costs no writes.
//
// # Memory
//
// A process is removed a minute of event time after its end, the tolerance for events out of order; but not while it has
// children, since it is part of their ancestry. A host keeps Config.MaxProcesses; when they are more, a sixteenth is
// removed, those that ended first and then those that started first, and counted.
//
// All of it lies in tables. What is in memory besides is an index over them, rebuilt after a restore and after a refused
// record, so that two runs of which only one crashed give the same records.
package lineage
