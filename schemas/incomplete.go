package schemas

import "strings"

// Why a fact about a process could not be had: the reasons in Process.Incomplete.
const (
	// Ended says that the process had ended before the fact could be read.
	Ended = "ended"
	// Replaced says that the process ran another program before the fact could be read.
	Replaced = "replaced"
	// Denied says that the collector may not read it.
	Denied = "denied"
	// Failed says that reading it failed in another way.
	Failed = "failed"
	// Unrecorded says that the source does not tell it.
	Unrecorded = "unrecorded"
)

// Lacks notes that a fact about the process could not be had, and why. The first reason stays.
func (p *Process) Lacks(fact, reason string) {
	if _, ok := p.Lacking(fact); ok {
		return
	}
	if p.Incomplete != "" {
		p.Incomplete += " "
	}
	p.Incomplete += fact + ":" + reason
}

// Lacking says whether a fact about the process could not be had, and why.
func (p *Process) Lacking(fact string) (reason string, ok bool) {
	for word := range strings.FieldsSeq(p.Incomplete) {
		if f, r, _ := strings.Cut(word, ":"); f == fact {
			return r, true
		}
	}
	return "", false
}

// Settle takes facts out of Incomplete that are known by now, from another event or source.
func (p *Process) Settle() {
	if p.Incomplete == "" {
		return
	}
	var left []string
	for word := range strings.FieldsSeq(p.Incomplete) {
		if fact, _, _ := strings.Cut(word, ":"); !p.known(fact) {
			left = append(left, word)
		}
	}
	p.Incomplete = strings.Join(left, " ")
}

func (p *Process) known(fact string) bool {
	switch fact {
	case "uid":
		return p.UID != ""
	case "created_time":
		return p.CreatedTime != 0
	case "path":
		return p.Path != ""
	case "args", "cmd_line":
		return p.CmdLine != ""
	case "working_directory":
		return p.WorkingDirectory != ""
	case "user_uid":
		return p.UserUID != "" || p.UserName != ""
	case "container_uid":
		return p.ContainerUID != ""
	}
	return false
}
