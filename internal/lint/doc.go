// Package lint holds the rules of the house that a compiler does not: which package may import which, what processors must
// not touch, what every package and exported name must have. Its test runs the rules over the whole tree; each finding is
// printed with the reason for the rule.
//
// The tree is parsed, not asked of the go command: a test that runs another program is taken from the cache although the
// files that program reads have changed.
package lint
