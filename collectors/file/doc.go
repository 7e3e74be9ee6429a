// Package file collects recorded events: it reads a recording and gives the events of the vocabulary, as a collector that
// sees the same things on a host would. It is what analyses, replays of public attack recordings and demonstrations read
// from; it does not follow a file that is being written.
//
//	r, err := file.Open("recording.json.zst", file.Config{})
//	…
//	for {
//		e, err := r.Next()
//		if err == io.EOF { break }
//		…
//	}
//
// # Formats
//
// A recording is a file, plain or compressed with gzip or zstd (found out by content), or a folder. Three formats are
// known, and found out by content too unless one is named:
//
//   - amoskys: our own events, one JSON object a line, with the name of the schema as "type".
//   - sysmon: Windows event logs, one JSON object a line: flat as nxlog and the scripts of OTRF Security-Datasets write
//     them, as winlogbeat 6 to 8 does, or as XML turned to JSON; then an object may also be spread over several lines.
//   - edr: a folder with an event graph of a Carbon Black sensor as nodes.csv and edges.csv; see graphDecoder for what its
//     edges mean.
//
// # Mapping of Windows events
//
//	Sysmon 1        ProcessExec        ProcessGuid is the process's uid
//	Sysmon 5        ProcessExit
//	Sysmon 3        NetworkActivity
//	Sysmon 6, 7     ModuleActivity     6 is a driver, of no process
//	Sysmon 8        ProcessAccess      technique remote_thread
//	Sysmon 10, 25   ProcessAccess      technique open, tampering
//	Sysmon 2, 11, 15, 23, 26           FileActivity: set attributes, create, create, delete, delete
//	Sysmon 9        FileActivity       read of a raw device
//	Sysmon 12-14    RegistryActivity
//	Sysmon 17, 18   FileActivity       path \\.\pipe\NAME: create, open
//	Sysmon 22       DNSActivity
//	Security 4688   ProcessExec        left out where the recording has Sysmon 1 of the host; uid from host, boot, pid, time
//	Security 4689   ProcessExit        likewise
//	Security 4656, 4663                FileActivity, RegistryActivity or ProcessAccess by ObjectType
//	Security 4657   RegistryActivity
//	Security 5154, 5156, 5158          NetworkActivity: listen, open, other (bind)
//
// A Security record names a process by its pid alone. It is given the identity of the process that a Sysmon or 4688 record
// has shown under that pid before, unless the names of the programs differ. Where none has, it has no uid, and is marked as
// incomplete (created_time:unrecorded): package lineage follows pids through their lives.
//
// All other records are counted by channel and id: in the Summary and in the status event that ends the events of each
// host. So Lines is always the sum of what was made and what was not; nothing is dropped without a number.
//
// # Time and order
//
// Event time is the record's: for Sysmon its UtcTime; for other records of the same host the log's time, corrected by what
// Sysmon's records show of the shipper's clock (see zones). Events are delivered in the order of the recording, whatever
// their times. In OTRF Security-Datasets that order is close to that of time within a channel but not between channels:
// after a record of one, earlier ones of another follow, by up to 7 minutes in 87 of the 89 recordings, 9 minutes in one,
// and 4 hours in one whose shipper's 12-hour clock jumps. So a consumer must not take arrival for time. Edges of a graph
// are in order.
//
// # Identity
//
// The boot of all events is "rec-" and the first 12 hex digits of the SHA-256 of the content, decompressed; sequence
// numbers count each host's events in the order of the recording. So the same recording gives the same ids wherever and
// whenever it is read, and reading it twice into one log adds nothing. To know the content first, it is read twice. Events of
// our own that were recorded with a whole identity keep it.
//
// # Errors
//
// A line that cannot be read, or has more than 16 MiB, is reported with file, line and byte, counted and passed over. Only
// what makes the rest unreadable ends the reading: a broken archive, a disk error.
package file
