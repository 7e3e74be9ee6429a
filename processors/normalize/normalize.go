package normalize

import (
	"strings"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Processor brings endpoint events into canonical form.
var Processor = &streams.Processor{
	Name:    "normalize",
	Doc:     "Endpoint events in canonical form: paths, users, command lines, addresses, registry keys, process identity.",
	Version: "1",
	Inputs:  []*schemas.Topic{schemas.EndpointTopic},
	Accepts: schemas.NormalizedTopic.Schemas,
	Outputs: []*schemas.Topic{schemas.NormalizedTopic},
	New:     func(*streams.Builder) streams.Handler { return streams.HandlerFunc(process) },
}

func process(c *streams.Context, r *streams.Record) error {
	if e, ok := r.Value.(schemas.Event); ok {
		Event(e)
	}
	return c.Emit(schemas.NormalizedTopic, r.Value)
}

// Event brings one event into canonical form, in place.
func Event(e schemas.Event) {
	env := e.Env()
	lower(&env.Platform)
	host(&env.Hostname)
	switch e := e.(type) {
	case *schemas.ProcessExec:
		exec(e)
	case *schemas.ProcessFork:
		f := form{env, windows(env, &e.Process)}
		f.process(&e.Process)
		f.process(&e.Parent)
	case *schemas.ProcessExit:
		form{env, windows(env, &e.Process)}.process(&e.Process)
	case *schemas.ProcessAccess:
		f := form{env, windows(env, &e.Process)}
		f.process(&e.Process)
		f.process(&e.Target)
		lower(&e.Access)
		lower(&e.Technique)
	case *schemas.FileActivity:
		f := form{env, windows(env, &e.Process)}
		f.process(&e.Process)
		f.path(&e.Path)
		f.path(&e.OldPath)
		lower(&e.SHA256)
	case *schemas.NetworkActivity:
		form{env, windows(env, &e.Process)}.process(&e.Process)
		endpoint(&e.Src)
		endpoint(&e.Dst)
		lower(&e.Protocol)
		lower(&e.Direction)
	case *schemas.DNSActivity:
		form{env, windows(env, &e.Process)}.process(&e.Process)
		endpoint(&e.Src)
		endpoint(&e.Dst)
		dns(e)
	case *schemas.MemoryActivity:
		f := form{env, windows(env, &e.Process)}
		f.process(&e.Process)
		f.path(&e.Backing)
	case *schemas.ModuleActivity:
		f := form{env, windows(env, &e.Process)}
		f.process(&e.Process)
		f.path(&e.Path)
		lower(&e.SHA256)
	case *schemas.RegistryActivity:
		form{env, true}.process(&e.Process)
		registry(&e.Key)
		registry(&e.OldKey)
		valid(&e.Data)
	case *schemas.SyscallSequence:
		form{env, windows(env, &e.Process)}.process(&e.Process)
	}
}

// form is how the names of an event are to be read.
type form struct {
	env     *schemas.Envelope
	windows bool
}

// windows says whether names follow the rules of Windows: by the platform or, where the source does not tell it, by the
// look of the path.
func windows(env *schemas.Envelope, p *schemas.Process) bool {
	if env.Platform != "" {
		return env.Platform == "windows"
	}
	return len(p.Path) > 2 && p.Path[1] == ':' && (p.Path[2] == '\\' || p.Path[2] == '/') || strings.HasPrefix(p.Path, `\`)
}

func (f form) path(p *string) {
	valid(p)
	switch {
	case *p == "":
	case f.windows:
		*p = windowsPath(*p)
	default:
		unixPath(p)
	}
}

func exec(e *schemas.ProcessExec) {
	f := form{&e.Envelope, windows(&e.Envelope, &e.Process)}
	if !f.windows {
		image, deleted := strings.CutSuffix(e.Process.Path, " (deleted)")
		switch {
		case strings.HasPrefix(image, "/memfd:"):
			e.Memfd, e.Deleted = true, false
		case deleted:
			e.Deleted = true
		}
	}
	if e.Process.CmdLine == "" {
		e.Process.CmdLine = cmdLine(e.Args)
	}
	f.process(&e.Process)
	f.process(&e.Parent)
	f.path(&e.Interpreter)
	blank(&e.TTY)
}

// process brings a process into canonical form.
func (f form) process(p *schemas.Process) {
	f.path(&p.Path)
	f.path(&p.WorkingDirectory)
	valid(&p.Name)
	valid(&p.CmdLine)
	lower(&p.SHA256)
	valid(&p.Incomplete)
	f.user(p)
	if base := paths.Base(p.Path); base != "" {
		p.Name = base
	} else if f.windows {
		lower(&p.Name)
	}
	if p.UID == "" && p.PID != 0 && p.CreatedTime != 0 {
		p.UID = schemas.ProcessUID(f.env.Host, f.env.Boot, p.PID, p.CreatedTime)
	}
}

// user writes a Windows account as DOMAIN\name. Names without domain, and with one behind an @, are lower case.
func (f form) user(p *schemas.Process) {
	valid(&p.UserName)
	blank(&p.UserName)
	if !f.windows || p.UserName == "" {
		return
	}
	if domain, name, ok := strings.Cut(p.UserName, `\`); ok {
		if u, l := strings.ToUpper(domain), strings.ToLower(name); u != domain || l != name {
			p.UserName = u + `\` + l
		}
		return
	}
	lower(&p.UserName)
}

func lower(s *string) { *s = strings.ToLower(*s) }

// blank empties a text that stands for nothing.
func blank(s *string) {
	if *s == "-" {
		*s = ""
	}
}
