package schemas_test

import (
	"testing"
	"unicode/utf8"

	"github.com/amoskys/amoskys/schemas"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{"": "", "é\n": "é\n", "a\xffb": `a\xffb`, "\xe2\x82": `\xe2\x82`, "\ufffd": "\ufffd"} {
		if got := schemas.Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := schemas.Text(s)
		if !utf8.ValidString(got) || utf8.ValidString(s) && got != s || schemas.Text(got) != got {
			t.Errorf("%q: %q", s, got)
		}
	})
}
