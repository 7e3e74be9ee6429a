package file

import (
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// securityEvents are the mappings by event id of the Security log.
var securityEvents = map[int64]mapping{
	4688: securityStart,
	4689: securityEnd,
	4656: securityObject(true),  // a handle was asked for
	4663: securityObject(false), // it was used
	4657: securityValue,
	5154: filtering(networkListen),
	5156: filtering(networkOpen),
	5158: filtering(otherActivity), // bind: OCSF has no activity for it
}

// byPID is the acting process of a record that has no GUID.
func (x *winEvent) byPID(pid int64, path string) schemas.Process {
	p := schemas.Process{PID: pid, Path: path}
	if pid != 0 {
		x.host.byPID(pid, path).fill(&p)
	}
	p.Name = base(p.Path)
	return p
}

// account is DOMAIN\name of the account with the prefix Subject or Target.
func (x *winEvent) account(prefix string) string {
	name, domain := x.str(prefix+"UserName"), x.str(prefix+"DomainName")
	if name == "" || domain == "" {
		return name
	}
	return domain + `\` + name
}

// integrity names the mandatory labels (well-known SIDs of [MS-DTYP] §2.4.2.4) as Sysmon does.
var integrity = map[string]string{"S-1-16-0": "Untrusted", "S-1-16-4096": "Low", "S-1-16-8192": "Medium", "S-1-16-8448": "MediumPlus",
	"S-1-16-12288": "High", "S-1-16-16384": "System", "S-1-16-20480": "Protected"}

const nobody = "S-1-0-0"

func securityStart(x *winEvent) schemas.Event {
	e := &schemas.ProcessExec{Envelope: x.envelope(processClass, processLaunch)}
	pid, ppid, path := x.num("NewProcessId"), x.num("ProcessId"), x.str("NewProcessName")
	e.Parent = x.byPID(ppid, x.str("ParentProcessName"))
	e.Process = schemas.Process{PID: pid, ParentPID: ppid, Path: path, Name: base(path), CmdLine: x.str("CommandLine"), Integrity: integrity[x.str("MandatoryLabel")]}
	x.host.start(pid, x.time, path).fill(&e.Process)
	e.Process.UserName, e.Process.UserUID, e.SessionID = x.account("Target"), x.str("TargetUserSid"), x.num("TargetLogonId")
	if e.Process.UserName == "" { // the new process has the account of its creator
		e.Process.UserName, e.Process.UserUID, e.SessionID = x.account("Subject"), x.str("SubjectUserSid"), x.num("SubjectLogonId")
	}
	return e
}

func securityEnd(x *winEvent) schemas.Event {
	pid := x.pid()
	e := &schemas.ProcessExit{Envelope: x.envelope(processClass, processTerminate), Process: x.subject(pid), ExitCode: int32(uint32(x.num("Status")))}
	delete(x.host.pids, pid)
	return e
}

// subject is the acting process with the account it acts as.
func (x *winEvent) subject(pid int64) schemas.Process {
	p := x.byPID(pid, x.str("ProcessName"))
	p.UserName, p.UserUID = x.account("Subject"), x.str("SubjectUserSid")
	if p.UserUID == nobody {
		p.UserUID = ""
	}
	return p
}

// securityObject maps access to an object by the type of the object; of the other types (service manager, accounts) there
// is no event.
func securityObject(handle bool) mapping {
	return func(x *winEvent) schemas.Event {
		name, mask := x.str("ObjectName"), x.num("AccessMask")
		if name == "" {
			return nil
		}
		switch x.str("ObjectType") {
		case "File":
			activity := int32(fileOpen)
			if !handle {
				activity = mostOf(mask, fileRights)
			}
			return &schemas.FileActivity{Envelope: x.envelope(fileClass, activity), Process: x.subject(x.pid()), Path: name, Flags: mask}
		case "Key":
			activity := int32(unknownActivity) // what was done will follow as a 4663
			if !handle {
				activity = mostOf(mask, keyRights)
			}
			return &schemas.RegistryActivity{Envelope: x.envelope(keyClass, activity), Process: x.subject(x.pid()), Key: name}
		case "Process":
			target := schemas.Process{Path: name, Name: base(name)}
			return &schemas.ProcessAccess{Envelope: x.envelope(processClass, processOpen), Process: x.subject(x.pid()), Target: target,
				Technique: "open", Access: x.str("AccessMask")}
		}
		return nil
	}
}

type right struct {
	bits     int64
	activity int32
}

// Access rights (winnt.h) with the activity they stand for, the gravest first.
var (
	fileRights = []right{{0x10000 | 0x40, fileDelete}, {0x2 | 0x4 | 0x10, fileUpdate}, {0x40000 | 0x80000, fileSetSecurity}, {0x100, fileSetAttributes},
		{0x1 | 0x8 | 0x20, fileRead}, {0x80, fileGetAttributes}, {0x20000, fileGetSecurity}}
	keyRights = []right{{0x10000, keyDelete}, {0x2, keyModify}, {0x4 | 0x20, keyCreate}, {0x1 | 0x8 | 0x10 | 0x20000, keyRead}}
)

func mostOf(mask int64, rights []right) int32 {
	for _, r := range rights {
		if mask&r.bits != 0 {
			return r.activity
		}
	}
	return unknownActivity
}

// securityValue is a registry value that was written or removed.
func securityValue(x *winEvent) schemas.Event {
	activity := int32(valueModify)
	switch x.str("OperationType") {
	case "%%1904":
		activity = valueSet
	case "%%1906":
		activity = valueDelete
	}
	return &schemas.RegistryActivity{Envelope: x.envelope(valueClass, activity), Process: x.subject(x.pid()),
		Key: x.str("ObjectName") + `\` + x.str("ObjectValueName"), Data: x.str("NewValue")}
}

// protocols by IANA number, as far as the filtering platform reports them.
var protocols = map[int64]string{1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmp6"}

// filtering maps what the Windows Filtering Platform permitted.
func filtering(activity int32) mapping {
	return func(x *winEvent) schemas.Event {
		e := &schemas.NetworkActivity{Envelope: x.envelope(networkClass, activity), Process: x.byPID(x.pid(), x.str("Application"))}
		e.Src = schemas.Endpoint{IP: x.str("SourceAddress"), Port: port(x.num("SourcePort"))}
		e.Dst = schemas.Endpoint{IP: x.str("DestAddress"), Port: port(x.num("DestPort"))}
		n := x.num("Protocol")
		if e.Protocol = protocols[n]; e.Protocol == "" {
			e.Protocol = strings.ToLower(x.str("Protocol"))
		}
		switch x.str("Direction") {
		case "%%14592":
			e.Direction = "inbound"
		case "%%14593":
			e.Direction = "outbound"
		}
		return e
	}
}
