package schemas

import "strings"

// Texts are all string fields of p.
func (p *Process) Texts() [11]*string {
	return [...]*string{&p.UID, &p.Name, &p.Path, &p.CmdLine, &p.WorkingDirectory, &p.UserUID, &p.UserName, &p.ContainerUID, &p.SHA256, &p.Integrity, &p.Incomplete}
}

// Detach copies the strings of p into memory of their own, in one piece. Decoded strings are cut from buffers that hold
// those of other records too, so a state row that keeps a few short ones would keep all of it: about a kilobyte for each.
func (p *Process) Detach() {
	n := 0
	for _, f := range p.Texts() {
		n += len(*f)
	}
	var b strings.Builder
	b.Grow(n)
	for _, f := range p.Texts() {
		b.WriteString(*f)
	}
	all := b.String()
	for _, f := range p.Texts() {
		*f, all = all[:len(*f)], all[len(*f):]
	}
}
