package schemas_test

import (
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

func TestIncomplete(t *testing.T) {
	p := &schemas.Process{PID: 1}
	p.Lacks("path", schemas.Ended)
	p.Lacks("args", schemas.Ended)
	p.Lacks("path", schemas.Denied) // the first reason stays
	p.Lacks("user_uid", schemas.Denied)
	if want := "path:ended args:ended user_uid:denied"; p.Incomplete != want {
		t.Errorf("incomplete is %q, want %q", p.Incomplete, want)
	}
	if r, ok := p.Lacking("args"); !ok || r != schemas.Ended {
		t.Errorf("args lack because of %q (%v)", r, ok)
	}
	if _, ok := p.Lacking("arg"); ok {
		t.Error("a part of a fact's name is taken for it")
	}
	p.Settle()
	if want := "path:ended args:ended user_uid:denied"; p.Incomplete != want {
		t.Errorf("nothing has become known, and incomplete is %q", p.Incomplete)
	}
	p.Path, p.UserName = "/bin/sh", "root"
	p.Settle()
	if p.Incomplete != "args:ended" {
		t.Errorf("incomplete is %q after path and user are known", p.Incomplete)
	}
	p.CmdLine = "sh"
	if p.Settle(); p.Incomplete != "" {
		t.Errorf("incomplete is %q after all is known", p.Incomplete)
	}
}

func TestIncompleteInWords(t *testing.T) {
	p := &schemas.Process{Incomplete: "path:ended args:ended user_uid:denied shoe_size:odd"}
	if got, want := p.IncompleteInWords(), "path, arguments (it had ended before they could be read); user (the collector may not read them); shoe_size (odd)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := new(schemas.Process).IncompleteInWords(); got != "" {
		t.Errorf("of a complete process: %q", got)
	}
}

// A name alone is a program only where the source never gives paths.
func TestProgram(t *testing.T) {
	for _, c := range []struct {
		p    schemas.Process
		want string
	}{
		{schemas.Process{Path: "/bin/sh", Name: "sh"}, "/bin/sh"},
		{schemas.Process{Name: "sh"}, "sh"},
		{schemas.Process{Name: "sh", Incomplete: "path:denied"}, "sh"},
		{schemas.Process{Name: "sh", Incomplete: "path:ended"}, ""},
		{schemas.Process{Name: "sh", Incomplete: "args:ended path:replaced"}, ""},
	} {
		if got := c.p.Program(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.p, got, c.want)
		}
	}
}
