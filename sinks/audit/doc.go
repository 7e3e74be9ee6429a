// Package audit is a sink that seals the audit topic into an archive in which every change is found: records are lines of
// canonical JSON (RFC 8785), each with the hash of the line before it, in read-only segments, with the hash of the last
// line in a file of its own. Verify checks an archive; NewRecord makes the records.
//
// # Layout
//
//	DIR/SEQUENCE.jsonl   a segment; SEQUENCE is that of its first record, 20 digits. A full one is read-only
//	DIR/head.json        sequence, offset and hash of the last record
//
// See docs/formats/audit.md for every field. Segments are cut by the number of records alone, so the same topic gives the
// same bytes.
//
// # What is found
//
// A flipped bit, a cut, a missing, added or moved record, a missing segment and a cut end are found from the archive alone.
// Somebody who may write all of it can also make all of it anew, with another head: against that, keep the head's hash
// somewhere else, and give it to Verify.
//
// # Delivery
//
// Deliver returns nil when records and head are on the disk. A crash leaves whole records behind the head, and at most one
// torn line: it is cut off when the archive is opened. The head is never ahead of the records; an archive in which it is
// has lost some, and is not opened. What cannot be decoded is kept as it was on the topic.
package audit
