// Package stdout is a sink that prints alerts: for people as a card of a few lines, or as JSON lines in the form that is
// promised to SOC teams. Other records are printed as JSON in both.
//
// An alert that comes again in the same run is not printed again; after a crash the last ones may be, with the same id and
// revision. Text from outside is made harmless before it reaches a terminal.
package stdout
