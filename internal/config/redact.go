package config

import (
	"regexp"
	"strings"
)

const notShown = "(not shown)"

// Redact hides what may be secret in a URL: user and password, query and fragment. Other texts stay as they are, and so do
// the commas between the URLs of a list.
func Redact(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	var b strings.Builder
	from := 0
	for _, at := range nextURL.FindAllStringIndex(text, -1) {
		b.WriteString(redactURL(text[from:at[0]]) + ",")
		from = at[0] + 1
	}
	return b.String() + redactURL(text[from:])
}

// nextURL is the comma before another URL of a list; a comma may be in a password too.
var nextURL = regexp.MustCompile(`,\s*[A-Za-z][A-Za-z0-9+.-]*://`)

// redactURL takes no URL parser: what does not parse must not be shown either.
func redactURL(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = notShown + rest[i:]
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i+1] + notShown
	}
	return scheme + "://" + rest
}
