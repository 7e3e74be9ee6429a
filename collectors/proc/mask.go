package proc

import "regexp"

// masker takes secrets out of arguments before they leave the machine.
type masker struct {
	whole []*regexp.Regexp // the first group of a match is replaced
	next  *regexp.Regexp   // an argument after which the next one is a secret
}

const masked = "****"

// DefaultMasks are the forms of secrets that are masked: each has one group, which is replaced.
var DefaultMasks = []string{
	`(?i)^--?[a-z0-9_-]*(?:passw(?:or)?d|passwd|pwd|secret|token|api-?key|apikey|credential)[a-z0-9_-]*[=:](.+)$`,
	`(?i)^[A-Z0-9_]*(?:PASSWORD|PASSWD|SECRET|TOKEN|APIKEY|API_KEY)[A-Z0-9_]*=(.+)$`,
	`://[^/\s:@]+:([^/\s@]+)@`,
	`\b((?:AKIA|ASIA)[0-9A-Z]{16})\b`,
	`\b(gh[pousr]_[0-9A-Za-z]{36,})\b`,
	`(?i)\bauthorization:\s*(?:bearer|basic)\s+(\S+)`,
}

var maskNext = regexp.MustCompile(`(?i)^--?[a-z0-9_-]*(?:passw(?:or)?d|passwd|pwd|secret|token|api-?key|apikey)$`)

func newMasker(forms []string) (masker, error) {
	m := masker{next: maskNext}
	for _, f := range forms {
		r, err := regexp.Compile(f)
		if err != nil {
			return m, err
		}
		m.whole = append(m.whole, r)
	}
	if len(forms) == 0 {
		m.next = nil
	}
	return m, nil
}

// args masks the secrets in an argument vector, in place.
func (m masker) args(args []string) []string {
	for i := range args {
		if i > 0 && m.next != nil && m.next.MatchString(args[i-1]) {
			args[i] = masked
			continue
		}
		for _, r := range m.whole {
			args[i] = replaceGroup(r, args[i])
		}
	}
	return args
}

func replaceGroup(r *regexp.Regexp, s string) string {
	at := r.FindAllStringSubmatchIndex(s, -1)
	for i := len(at) - 1; i >= 0; i-- {
		if m := at[i]; len(m) > 3 && m[2] >= 0 {
			s = s[:m[2]] + masked + s[m[3]:]
		}
	}
	return s
}
