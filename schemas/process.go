package schemas

import "strings"

// Detach copies the strings of p into memory of their own, in one piece. Decoded strings are cut from buffers that hold
// those of other records too, so a state row that keeps a few short ones would keep all of it: about a kilobyte for each.
func (p *Process) Detach() {
	detach(&p.UID, &p.Name, &p.Path, &p.CmdLine, &p.WorkingDirectory, &p.UserUID, &p.UserName, &p.ContainerUID, &p.SHA256, &p.Integrity)
}

func detach(fields ...*string) {
	n := 0
	for _, f := range fields {
		n += len(*f)
	}
	var b strings.Builder
	b.Grow(n)
	for _, f := range fields {
		b.WriteString(*f)
	}
	all := b.String()
	for _, f := range fields {
		*f, all = all[:len(*f)], all[len(*f):]
	}
}
