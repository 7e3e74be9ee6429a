package schemas

import (
	"cmp"
	"strings"
)

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

// Program is what executables are compared by: the path or, where the source gives none, the name. It is empty where the path
// could not be had this once: under its bare name a program that is well known would pass for a new one.
func (p *Process) Program() string {
	if p.Path != "" {
		return p.Path
	}
	if why, ok := p.Lacking("path"); ok && (why == Ended || why == Replaced) {
		return ""
	}
	return p.Name
}

// inWords are the facts and reasons of Incomplete for a person.
var inWords = map[string]string{
	"args": "arguments", "container_uid": "container", "created_time": "start time", "path": "path", "name": "name", "user_uid": "user",
	"working_directory": "working directory",
	Ended:               "it had ended before they could be read",
	Replaced:            "it ran another program before they could be read",
	Denied:              "the collector may not read them",
	Failed:              "reading them failed",
	Unrecorded:          "the source does not tell them",
}

// IncompleteInWords says for a person what could not be had of the process, and why; nothing if nothing is missing.
func (p *Process) IncompleteInWords() string {
	var reasons []string
	facts := map[string][]string{}
	for word := range strings.FieldsSeq(p.Incomplete) {
		fact, why, _ := strings.Cut(word, ":")
		if len(facts[why]) == 0 {
			reasons = append(reasons, why)
		}
		facts[why] = append(facts[why], cmp.Or(inWords[fact], fact))
	}
	var parts []string
	for _, why := range reasons {
		parts = append(parts, strings.Join(facts[why], ", ")+" ("+cmp.Or(inWords[why], why, "nobody knows why")+")")
	}
	return strings.Join(parts, "; ")
}
