// Package lint holds the rules of the architecture as tests: they parse the sources, and run no other program, so that a
// cached result is never of an older tree.
package lint
