package signature

import (
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

// windowsShells run what they are told, and are what is started first.
var windowsShells = set("cmd.exe", "powershell.exe", "pwsh.exe", "wscript.exe", "cscript.exe", "mshta.exe", "rundll32.exe", "regsvr32.exe", "certutil.exe",
	"bitsadmin.exe", "wmic.exe", "msbuild.exe", "installutil.exe", "forfiles.exe", "scrcons.exe")

var officePrograms = set("winword.exe", "excel.exe", "powerpnt.exe", "outlook.exe", "msaccess.exe", "mspub.exe", "visio.exe", "onenote.exe", "eqnedt32.exe")

func officeShell(l *schemas.LineageRecord) bool {
	if !officePrograms[l.Parent.Name] || !windowsShells[l.Process.Name] {
		return false
	}
	if l.Process.Name != "rundll32.exe" {
		return true
	}
	cmd := strings.ToLower(l.Process.CmdLine)
	for _, s := range []string{"openas_rundll", "printui", "control_rundll", "shellexec_rundll", "photoviewer", "shimgvw"} {
		if strings.Contains(cmd, s) {
			return false
		}
	}
	return true
}

// systemProcesses are the parts of Windows that open LSASS, or start threads in other processes, by nature.
var systemProcesses = set(`c:\windows\system32\csrss.exe`, `c:\windows\system32\wininit.exe`, `c:\windows\system32\winlogon.exe`, `c:\windows\system32\services.exe`,
	`c:\windows\system32\smss.exe`, `c:\windows\system32\lsass.exe`, `c:\windows\system32\lsaiso.exe`, `c:\windows\system32\svchost.exe`, `c:\windows\system32\dwm.exe`,
	`c:\windows\system32\wbem\wmiprvse.exe`, `c:\windows\syswow64\wbem\wmiprvse.exe`, `c:\windows\system32\werfault.exe`, `c:\windows\syswow64\werfault.exe`,
	`c:\windows\system32\werfaultsecure.exe`, `c:\windows\system32\mrt.exe`, `c:\windows\system32\audiodg.exe`, `c:\windows\system32\msiexec.exe`)

// agentDirectories are where only an administrator installs programs, among them all that have business with LSASS.
var agentDirectories = []string{`c:\program files\`, `c:\program files (x86)\`, `c:\programdata\microsoft\windows defender\`, `c:\windowsazure\`, `c:\windows\ccm\`}

func trusted(path string) bool {
	if systemProcesses[path] {
		return true
	}
	for _, d := range agentDirectories {
		if strings.HasPrefix(path, d) {
			return true
		}
	}
	return false
}

// enumerators look at every process, LSASS among them, and read a little of each. They are trusted with that, and not with
// all rights: the task manager can be told to dump a process.
var enumerators = set(`c:\windows\system32\taskmgr.exe`, `c:\windows\system32\tasklist.exe`, `c:\windows\system32\perfmon.exe`, `c:\windows\system32\msinfo32.exe`,
	`c:\windows\system32\dxdiag.exe`, `c:\windows\system32\compattelrunner.exe`)

// Access rights (Windows, "Process Security and Access Rights").
const (
	vmRead    = 0x10
	allAccess = 0x1fffff
)

func lsassRead(l *schemas.LineageRecord) bool {
	path := l.Process.Path
	if !strings.HasSuffix(l.Object, `\windows\system32\lsass.exe`) || path == "" || trusted(path) {
		return false
	}
	mask, err := strconv.ParseUint(strings.TrimPrefix(l.Access, "0x"), 16, 32)
	return err == nil && mask&vmRead != 0 && (!enumerators[path] || mask&allAccess == allAccess)
}

func remoteThread(l *schemas.LineageRecord) bool {
	return l.Technique == "remote_thread" && l.Object != l.Process.Path && l.Process.Path != "" && !trusted(l.Process.Path)
}

func lsassDump(l *schemas.LineageRecord) bool {
	cmd := strings.ToLower(l.Process.CmdLine)
	has := func(s string) bool { return strings.Contains(cmd, s) }
	switch {
	case has("comsvcs"):
		return has("minidump") || has("#24") || has("#+24") || has("#-")
	case has("lsass"):
		return has(" -ma ") || has(" /ma ") || has(" -mm ") || has(" /mm ")
	}
	return has("sekurlsa::") || has("lsadump::")
}

func samExport(l *schemas.LineageRecord) bool {
	cmd := strings.ReplaceAll(strings.ToLower(l.Process.CmdLine), "/", `\`)
	has := func(s string) bool { return strings.Contains(cmd, s) }
	if paths.Base(l.Process.Path) == "reg.exe" {
		return (has(" save ") || has(" export ")) && (has(`\sam`) || has(`\security`)) && (has("hklm") || has("hkey_local_machine"))
	}
	return (has(`config\sam`) || has(`config\security`)) && (has("esentutl") || has("copy"))
}

func ntdsExport(l *schemas.LineageRecord) bool {
	cmd := strings.ReplaceAll(strings.ToLower(l.Process.CmdLine), "/", `\`)
	has := func(s string) bool { return strings.Contains(cmd, s) }
	if has("ntdsutil") {
		return has("ifm") || has("create full")
	}
	return has("ntds.dit") && (has("copy") || has("esentutl"))
}

func shadowCopyRemoval(l *schemas.LineageRecord) bool {
	cmd := strings.ToLower(l.Process.CmdLine)
	has := func(s string) bool { return strings.Contains(cmd, s) }
	switch l.Process.Name {
	case "vssadmin.exe":
		return has("delete") && has("shadows") && has("/all")
	case "wmic.exe":
		return has("shadowcopy") && has("delete")
	case "wbadmin.exe":
		return has("delete") && has("catalog")
	case "bcdedit.exe":
		return has("recoveryenabled") && has(" no")
	case "powershell.exe", "pwsh.exe":
		return has("win32_shadowcopy") && (has("delete") || has("remove-"))
	}
	return false
}
