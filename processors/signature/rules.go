package signature

import "github.com/amoskys/amoskys/schemas"

// A Rule describes one thing that is certain when it is seen.
type Rule struct {
	ID             string // lower_snake_case; the detector is signature.ID; never changed
	Title          string
	SeverityID     int32    // OCSF severity_id
	Techniques     []string // ATT&CK ids
	Tactics        []string // ATT&CK tactics of these techniques that the rule is about
	FalsePositives string   // what sets it off wrongly, and what was done against it

	kind      string // of the records it looks at
	platform  string // empty for all
	perObject bool   // speaks once of each object, not once of a process
	match     func(*schemas.LineageRecord) bool
}

// OCSF severity_id.
const (
	medium   = 3
	high     = 4
	critical = 5
)

// Rules are all rules, sorted by id.
var Rules = []Rule{
	{
		ID: "deleted_executable", Title: "Program running from a removed file in a directory that everyone may write", SeverityID: high,
		Techniques: []string{"T1070.004"}, Tactics: []string{"defense-evasion"},
		FalsePositives: "Removed executables elsewhere do not count: an upgrade replaces the files of running daemons and browsers. " +
			"What go run and go test started, and removed, does not either. An installer that unpacks itself below a temporary directory " +
			"and removes itself while it runs does.",
		kind: "exec", match: deletedExecutable,
	},
	{
		ID: "ld_preload", Title: "Library set to be loaded into every program", SeverityID: high,
		Techniques: []string{"T1574.006"}, Tactics: []string{"persistence", "privilege-escalation", "defense-evasion"},
		FalsePositives: "The few packages that use /etc/ld.so.preload write it when they are installed; dpkg and rpm themselves are left out.",
		kind:           "file", match: preload,
	},
	{
		ID: "lsass_dump", Title: "Command that dumps the memory of LSASS", SeverityID: critical,
		Techniques: []string{"T1003.001"}, Tactics: []string{"credential-access"},
		FalsePositives: "Support staff dump LSASS with procdump when Windows hangs; it is rare enough to be asked about.",
		kind:           "exec", platform: "windows", match: lsassDump,
	},
	{
		ID: "lsass_read", Title: "Memory of LSASS opened for reading", SeverityID: high,
		Techniques: []string{"T1003.001"}, Tactics: []string{"credential-access"},
		FalsePositives: "Programs in Program Files, Windows Defender, the Azure guest agent and the parts of Windows that open LSASS are left out, " +
			"whatever they do: an agent that is installed elsewhere sets it off.",
		kind: "access", platform: "windows", match: lsassRead,
	},
	{
		ID: "memfd_execution", Title: "Program running from memory only", SeverityID: high,
		Techniques: []string{"T1620"}, Tactics: []string{"defense-evasion"},
		FalsePositives: "runc and crun execute a copy of themselves from memory; they are left out when a container runtime from a system " +
			"directory, or from that of k3s, RKE2 or k0s, is their parent. Some sandboxes and single-file programs do the same.",
		kind: "exec", match: memfdExecution,
	},
	{
		ID: "ntds_export", Title: "Command that copies the domain's password database", SeverityID: critical,
		Techniques: []string{"T1003.003"}, Tactics: []string{"credential-access"},
		FalsePositives: "Installation media for domain controllers (ntdsutil ifm) is made by administrators, a few times in the life of a domain.",
		kind:           "exec", platform: "windows", match: ntdsExport,
	},
	{
		ID: "office_shell", Title: "Shell or script host started by an office program", SeverityID: high,
		Techniques: []string{"T1566.001", "T1204.002"}, Tactics: []string{"initial-access", "execution"},
		FalsePositives: "Macros of a company may start scripts. What office programs start through rundll32 to open a file, print or show a " +
			"control panel is left out.",
		kind: "exec", platform: "windows", match: officeShell,
	},
	{
		ID: "remote_thread", Title: "Thread started in another process", SeverityID: high,
		Techniques: []string{"T1055"}, Tactics: []string{"defense-evasion", "privilege-escalation"},
		FalsePositives: "The parts of Windows that do it by nature, and programs in Program Files (debuggers, antivirus, accessibility), are left out. " +
			"A debugger elsewhere sets it off.",
		kind: "access", platform: "windows", perObject: true, match: remoteThread,
	},
	{
		ID: "reverse_shell", Title: "Shell whose input and output are a network connection", SeverityID: critical,
		Techniques: []string{"T1059.004"}, Tactics: []string{"execution"},
		FalsePositives: "Scripts that only probe a port through /dev/tcp, or speak a line of HTTP over it, do not count.",
		kind:           "exec", match: reverseShell,
	},
	{
		ID: "sam_export", Title: "Command that copies the local password database", SeverityID: high,
		Techniques: []string{"T1003.002"}, Tactics: []string{"credential-access"},
		FalsePositives: "Old backup scripts save these registry hives. Saving the SYSTEM hive alone does not count.",
		kind:           "exec", platform: "windows", match: samExport,
	},
	{
		ID: "server_shell", Title: "Shell started by a server process", SeverityID: high,
		Techniques: []string{"T1505.003", "T1059.004", "T1190"}, Tactics: []string{"persistence", "execution", "initial-access"},
		FalsePositives: "Web applications start helpers through a shell: a single known one (sendmail, convert, ffmpeg, git, which, …) without shell " +
			"operators, a script from a system directory (CGI), and PostgreSQL's WAL commands are left out. Programs that run other people's " +
			"commands by design (Jenkins, build agents) do not count as servers, unless they run inside an application server.",
		kind: "exec", match: serverShell,
	},
	{
		ID: "shadow_copy_removal", Title: "Command that removes the means of recovery", SeverityID: high,
		Techniques: []string{"T1490"}, Tactics: []string{"impact"},
		FalsePositives: "Backup software removes single shadow copies; only commands that remove all of them, or switch recovery off, count.",
		kind:           "exec", platform: "windows", match: shadowCopyRemoval,
	},
	{
		ID: "world_writable_network", Title: "Program from a directory that everyone may write has a network connection", SeverityID: medium,
		Techniques: []string{"T1105", "T1071"}, Tactics: []string{"command-and-control"},
		FalsePositives: "Connections to the machine itself, multicast and DNS do not count. Test and run binaries of the Go toolchain are left out when " +
			"the go command is their ancestor, and so are mounted AppImages, which leaves their directory to hide in. An installer that was " +
			"downloaded to /tmp and loads the rest from the network sets it off: it cannot be told from a dropper.",
		kind: "network", match: worldWritableNetwork,
	},
}
