package proc

import (
	"regexp"
	"strings"
)

// A pattern is one rule of what is a secret.
type pattern struct {
	re *regexp.Regexp
	// needles are texts in lower case one of which is in whatever re matches; none: re is always tried. They are looked for
	// first, since a regular expression costs a hundred times as much.
	needles []string
}

// mysql and its like take the password in one argument with -p, where most other programs take a port or a path.
const (
	withPassword = `(?:mysql|mysqldump|mysqladmin|mysqlimport|mariadb|mariadb-dump|mariadb-admin)`
	secretWord   = `(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|auth[_-]?key|credentials?)`
)

var secretNeedles = []string{"pass", "pwd", "secret", "token", "key", "credential"}

var defaultPatterns = []pattern{
	// --password=X, --db-password X, -password X; on Windows tools that run here, too: /password:X
	{regexp.MustCompile(`(?i)(?:^|\x00)(?:--?(?:[a-z0-9]+[_-])*` + secretWord + `[=:\x00]|/` + secretWord + `[=:])([^\x00]+)`), secretNeedles},
	// PGPASSWORD=X, AWS_SECRET_ACCESS_KEY=X, -Dspring.datasource.password=X, connection strings with ;Password=X;
	{regexp.MustCompile(`(?i)[a-z0-9_.-]*` + secretWord + `=([^\x00;&\s"']+)`), secretNeedles},
	// {"password": "X"}
	{regexp.MustCompile(`(?i)["'][a-z0-9_.-]*` + secretWord + `["']\s*:\s*["']([^"'\x00]+)`), secretNeedles},
	// scheme://user:X@host
	{regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://[^/\s:@\x00]*:([^/\s@\x00]+)@`), []string{"://"}},
	// query parameters of URLs that are signatures or keys
	{regexp.MustCompile(`(?i)[?&](?:sig|signature|x-amz-signature|x-amz-security-token|auth|jwt|key|code)=([^\x00&#\s]+)`), []string{"sig", "token", "auth", "jwt", "key", "code"}},
	// Authorization: Bearer X
	{regexp.MustCompile(`(?i)(?:bearer|basic|authorization:|x-api-key:|private-token:)\s+(?:bearer\s+|basic\s+|token\s+)?([a-z0-9._~+/=-]{6,})`), []string{"bearer", "basic", "authorization", "x-api-key", "private-token"}},
	// curl -u user:X
	{regexp.MustCompile(`^(?:[^\x00]*/)?(?:curl|http|https)(?:\x00[^\x00]*)*?\x00(?:-u|--user|--proxy-user|-a|--auth)[=\x00]?[^\x00:]+:([^\x00]+)`), []string{"curl", "http"}},
	{regexp.MustCompile(`^(?:[^\x00]*/)?` + withPassword + `(?:\x00[^\x00]*)*?\x00-p([^\x00]+)`), []string{"-p"}},
	{regexp.MustCompile(`^(?:[^\x00]*/)?sshpass(?:\x00[^\x00]*)*?\x00-p\x00?([^\x00]+)`), []string{"sshpass"}},
	// keys known by their form: AWS, GitHub, GitLab, Slack, Google, Stripe, JSON web tokens
	{regexp.MustCompile(`\b((?:AKIA|ASIA)[0-9A-Z]{16})\b`), []string{"akia", "asia"}},
	{regexp.MustCompile(`\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,})`), []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"}},
	{regexp.MustCompile(`\b(glpat-[A-Za-z0-9_-]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{35}|[rs]k_live_[0-9A-Za-z]{20,})`), []string{"glpat-", "xox", "aiza", "k_live_"}},
	{regexp.MustCompile(`\b(eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)`), []string{"eyj"}},
}

// DefaultMasks are the masks that hold where Config.Masks gives none.
func DefaultMasks() []string {
	var out []string
	for _, p := range defaultPatterns {
		out = append(out, p.re.String())
	}
	return out
}

// mask replaces secrets. The zero value replaces nothing.
type mask []pattern

func newMask(c *Config) (mask, error) {
	if !c.Mask {
		return nil, nil
	}
	if len(c.Masks) == 0 {
		return defaultPatterns, nil
	}
	var m mask
	for _, p := range c.Masks {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, err
		}
		m = append(m, pattern{re: re})
	}
	return m, nil
}

const masked = "***"

// apply masks an argument vector joined with NUL bytes.
func (m mask) apply(args string) string {
	if len(m) == 0 {
		return args
	}
	lower := strings.ToLower(args)
	for _, p := range m {
		if p.possible(lower) {
			args = replaceGroup(p.re, args)
		}
	}
	return args
}

func (p *pattern) possible(lower string) bool {
	if len(p.needles) == 0 {
		return true
	}
	for _, n := range p.needles {
		if strings.Contains(lower, n) {
			return true
		}
	}
	return false
}

// replaceGroup replaces the first group of every match. Arguments stay as many as they were: a NUL byte is no secret.
func replaceGroup(re *regexp.Regexp, s string) string {
	at := re.FindAllStringSubmatchIndex(s, -1)
	if at == nil {
		return s
	}
	var b strings.Builder
	from := 0
	for _, m := range at {
		if m[2] < from || m[3] <= m[2] {
			continue
		}
		b.WriteString(s[from:m[2]])
		b.WriteString(masked)
		for range strings.Count(s[m[2]:m[3]], "\x00") {
			b.WriteByte(0)
		}
		from = m[3]
	}
	b.WriteString(s[from:])
	return b.String()
}
