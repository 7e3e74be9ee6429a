package file

import (
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// sysmonEvents are the mappings by event id of Microsoft-Windows-Sysmon/Operational.
var sysmonEvents = map[int64]mapping{
	1:  sysmonStart,
	2:  sysmonFile(fileSetAttributes), // creation time changed
	3:  sysmonConnection,
	5:  sysmonEnd,
	6:  sysmonModule, // driver
	7:  sysmonModule,
	8:  sysmonRemoteThread,
	9:  sysmonRawRead,
	10: sysmonAccess,
	11: sysmonFile(fileCreate),
	12: sysmonRegistry,
	13: sysmonRegistry,
	14: sysmonRegistry,
	15: sysmonFile(fileCreate), // alternate stream
	17: sysmonPipe(fileCreate),
	18: sysmonPipe(fileOpen),
	22: sysmonQuery,
	23: sysmonFile(fileDelete), // and archived
	25: sysmonTampering,
	26: sysmonFile(fileDelete),
}

// actor is the process that the record is about.
func (x *winEvent) actor() schemas.Process {
	pid := x.pid()
	p := schemas.Process{PID: pid, Path: x.str("Image"), UserName: x.str("User")}
	x.host.byGUID(x.raw("ProcessGuid"), pid).fill(&p)
	p.Name = base(p.Path)
	return p
}

// side is one of the two processes of a record, by the beginning of its fields' names: Source or Target.
func (x *winEvent) side(prefix string) schemas.Process {
	pid := x.num(prefix + "ProcessId")
	p := schemas.Process{PID: pid, Path: x.str(prefix + "Image"), UserName: x.str(prefix + "User")}
	x.host.byGUID(x.raw(prefix+"ProcessGUID", prefix+"ProcessGuid"), pid).fill(&p)
	p.Name = base(p.Path)
	return p
}

func sysmonStart(x *winEvent) schemas.Event {
	e := &schemas.ProcessExec{Envelope: x.envelope(processClass, processLaunch)}
	pid, ppid := x.pid(), x.num("ParentProcessId")
	e.Process = schemas.Process{PID: pid, ParentPID: ppid, Path: x.str("Image"), CmdLine: x.str("CommandLine"), WorkingDirectory: x.str("CurrentDirectory"),
		UserName: x.str("User"), SHA256: sha256Of(x.str("Hashes")), Integrity: x.str("IntegrityLevel")}
	e.Parent = schemas.Process{PID: ppid, Path: x.str("ParentImage"), CmdLine: x.str("ParentCommandLine"), UserName: x.str("ParentUser")}
	x.host.byGUID(x.raw("ParentProcessGuid"), ppid).fill(&e.Parent)
	if p := x.host.byGUID(x.raw("ProcessGuid"), pid); p != nil {
		p.created = x.time
		p.fill(&e.Process)
	}
	e.Process.Name, e.Parent.Name = base(e.Process.Path), base(e.Parent.Path)
	e.SessionID = x.num("LogonId")
	return e
}

func sysmonEnd(x *winEvent) schemas.Event {
	e := &schemas.ProcessExit{Envelope: x.envelope(processClass, processTerminate), Process: x.actor()}
	delete(x.host.pids, e.Process.PID)
	return e
}

func sysmonConnection(x *winEvent) schemas.Event {
	e := &schemas.NetworkActivity{Envelope: x.envelope(networkClass, networkOpen), Process: x.actor(), Protocol: strings.ToLower(x.str("Protocol"))}
	e.Src = schemas.Endpoint{IP: x.str("SourceIp"), Port: port(x.num("SourcePort")), Hostname: x.str("SourceHostname")}
	e.Dst = schemas.Endpoint{IP: x.str("DestinationIp"), Port: port(x.num("DestinationPort")), Hostname: x.str("DestinationHostname")}
	switch x.str("Initiated") {
	case "true":
		e.Direction = "outbound"
	case "false":
		e.Direction = "inbound"
	}
	return e
}

func port(n int64) int32 {
	if n < 0 || n > 65535 {
		return 0
	}
	return int32(n)
}

func sysmonModule(x *winEvent) schemas.Event {
	e := &schemas.ModuleActivity{Envelope: x.envelope(moduleClass, moduleLoad), Path: x.str("ImageLoaded"), SHA256: sha256Of(x.str("Hashes")), Signer: x.str("Signature")}
	if x.raw("ProcessGuid") != nil { // a driver is loaded by no process
		e.Process = x.actor()
	}
	e.Signed = x.str("Signed") == "true" && x.str("SignatureStatus") == "Valid"
	return e
}

func sysmonRemoteThread(x *winEvent) schemas.Event {
	e := &schemas.ProcessAccess{Envelope: x.envelope(processClass, processInject), Process: x.side("Source"), Target: x.side("Target"), Technique: "remote_thread"}
	e.Access, e.CallTrace = x.str("StartAddress"), x.str("StartModule")
	if f := x.str("StartFunction"); f != "" {
		e.CallTrace += "!" + f
	}
	return e
}

func sysmonAccess(x *winEvent) schemas.Event {
	return &schemas.ProcessAccess{Envelope: x.envelope(processClass, processOpen), Process: x.side("Source"), Target: x.side("Target"),
		Technique: "open", Access: x.str("GrantedAccess"), CallTrace: x.str("CallTrace")}
}

func sysmonTampering(x *winEvent) schemas.Event {
	p := x.actor()
	return &schemas.ProcessAccess{Envelope: x.envelope(processClass, processInject), Process: p, Target: p, Technique: "tampering", Access: x.str("Type")}
}

func sysmonRawRead(x *winEvent) schemas.Event {
	return &schemas.FileActivity{Envelope: x.envelope(fileClass, fileRead), Process: x.actor(), Path: x.str("Device")}
}

func sysmonFile(activity int32) mapping {
	return func(x *winEvent) schemas.Event {
		return &schemas.FileActivity{Envelope: x.envelope(fileClass, activity), Process: x.actor(), Path: x.str("TargetFilename"), SHA256: sha256Of(x.str("Hashes", "Hash"))}
	}
}

func sysmonPipe(activity int32) mapping {
	return func(x *winEvent) schemas.Event {
		name := x.str("PipeName")
		if !strings.HasPrefix(name, `\`) {
			name = `\` + name
		}
		return &schemas.FileActivity{Envelope: x.envelope(fileClass, activity), Process: x.actor(), Path: `\\.\pipe` + name}
	}
}

// registryActivities are the class and activity by Sysmon's EventType.
var registryActivities = map[string][2]int32{
	"CreateKey": {keyClass, keyCreate}, "DeleteKey": {keyClass, keyDelete}, "RenameKey": {keyClass, keyRename}, "RenameValue": {valueClass, valueModify},
	"CreateValue": {valueClass, valueSet}, "SetValue": {valueClass, valueSet}, "DeleteValue": {valueClass, valueDelete},
}

func sysmonRegistry(x *winEvent) schemas.Event {
	a, ok := registryActivities[x.str("EventType")]
	if !ok { // nxlog puts its own EventType, INFO, in the place of Sysmon's
		if a, ok = registryActivities[string(x.said("EventType:"))]; !ok {
			a = registryByID[number(x.id)]
		}
	}
	e := &schemas.RegistryActivity{Envelope: x.envelope(a[0], a[1]), Process: x.actor(), Key: x.str("TargetObject"), Data: x.str("Details")}
	if renamed := x.str("NewName"); renamed != "" {
		e.Key, e.OldKey = renamed, e.Key
	}
	return e
}

// registryByID is what the event id alone says: 12 is creation or deletion, of which it does not tell.
var registryByID = map[int64][2]int32{12: {keyClass, unknownActivity}, 13: {valueClass, valueSet}, 14: {keyClass, keyRename}}

func sysmonQuery(x *winEvent) schemas.Event {
	return &schemas.DNSActivity{Envelope: x.envelope(dnsClass, dnsQuery), Process: x.actor(), Query: x.str("QueryName"), Rcode: rcode(x.num("QueryStatus")),
		Answers: answers(x.str("QueryResults"))}
}

// rcode is the DNS response code behind a Windows status: 9001 to 9018 are DNS_ERROR_RCODE_ plus the code (winerror.h);
// another status stays as it is.
func rcode(status int64) int32 {
	switch {
	case status >= 9001 && status <= 9018:
		return int32(status - 9000)
	case status < 0 || status > 1<<31-1:
		return 0
	}
	return int32(status)
}

// answers splits Sysmon's results, "type:  5 name;::ffff:192.0.2.1;", into names and addresses.
func answers(results string) []string {
	var list []string
	for _, s := range strings.Split(results, ";") {
		s = strings.TrimSpace(s)
		if rest, ok := strings.CutPrefix(s, "type:"); ok {
			if f := strings.Fields(rest); len(f) > 1 {
				s = f[1]
			} else {
				s = ""
			}
		}
		if s = strings.TrimPrefix(s, "::ffff:"); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// sha256Of finds the SHA-256 in "SHA1=…,MD5=…,SHA256=…,IMPHASH=…", in lower case.
func sha256Of(hashes string) string {
	for part := range strings.SplitSeq(hashes, ",") {
		if h, ok := strings.CutPrefix(strings.TrimSpace(part), "SHA256="); ok && len(h) == 64 {
			return strings.ToLower(h)
		}
	}
	return ""
}
