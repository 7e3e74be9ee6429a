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
