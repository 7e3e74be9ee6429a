// Package features counts what hosts and processes do, minute by minute of event time.
//
// Declared lists every feature with its unit, window and entity. There is one code path: what a detector is trained on is
// what it is given later.
//
// A host has a vector for each minute in which anything of it was seen, a process for each minute in which it did something
// besides starting and ending. A process's minute with less than four activities, none of them new on the host, is not
// written: most processes read a file or two and are gone, and a vector for each would be most of the topic. A vector is
// written when the watermark of the host has passed the minute, and again with the next revision when a late record changed
// it: up to an hour later for hosts, five minutes for processes.
//
// Activities that lineage counted without writing them (LineageRecord.Repeats) are counted here in the minute of the record
// that tells them, which is at most a minute late; those that only an exit tells, which has no kind, are not. What a scan
// found running (snapshot) was not started in its minute and counts as no exec. Distinct counts are exact up to 64; 64
// means 64 or more. A vector names up to four causes: the first event, then those that were new on the host.
package features
