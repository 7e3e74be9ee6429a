// Package normalize brings collected endpoint events into one canonical form, so that what comes after compares texts and
// need not know which source wrote them.
//
// It keeps no state, drops nothing and invents nothing: what it does not understand it leaves as it is. It works in place
// on the decoded event and hands it on in memory; nothing is written.
//
// # Linux and macOS paths
//
// Repeated slashes and . and .. elements are taken out, lexically. The suffix " (deleted)" of /proc is cut off and becomes
// ProcessExec.Deleted; "/memfd:" becomes ProcessExec.Memfd (and not Deleted: such a file never had a name). Case stays:
// file names differ by it on Linux, and on macOS they are kept as they were given.
//
// # Windows paths and registry keys
//
// They are lower case, since Windows does not tell cases apart, with backslashes; \??\ and \\?\ are cut off, \\?\UNC\server
// is \\server, \SystemRoot\ and %SystemRoot%\ are c:\windows\. The command line is kept as it was: arguments may differ by
// case. Short 8.3 names stay, since only the disk knows their long form.
//
// A path on a device, \Device\HarddiskVolume3\Windows\…, stays on its device, in lower case. Which letter a volume has is
// not in the event, and the obvious guess is a hole: any mounted image can have a \Windows\System32 that must not pass for
// the real one. Where another source gave the process's path with its letter, lineage keeps that one.
//
// Hives have their short names (hklm, hku, hkcr, hkcu, hkcc); \REGISTRY\MACHINE and \REGISTRY\USER are hklm and hku;
// ControlSet001 and its like are currentcontrolset, under which most sources report them.
//
// # Names and addresses
//
// Windows users are DOMAIN\name, the domain in upper and the name in lower case; Unix users stay. "-", which some sources
// write for nothing, is empty. Addresses are as RFC 5952 writes them, IPv4 in IPv6 as IPv4, without zone; host names and
// DNS names lower case without the final dot; hashes and access masks lower case.
//
// # Identity
//
// A process without uid gets schemas.ProcessUID where pid and start time are known; the rest is for lineage to resolve.
// The name is the last element of the path. An empty command line is built from the arguments, quoted as a POSIX shell
// would need it. Bytes that are not UTF-8 are written as \xNN, since Avro strings must be UTF-8.
package normalize
