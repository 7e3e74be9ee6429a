// Package file is a sink that archives topics in files: JSON lines, or Avro object containers. It is exactly-once by
// construction, and the same log gives the same files.
//
// # Layout
//
//	DIR/TOPIC/PARTITION/FIRST-LAST.jsonl               a segment; FIRST and LAST are offsets, 20 digits
//	DIR/TOPIC/PARTITION/FIRST-LAST.Alert.avro          or, in Avro, one container for each schema in it,
//	DIR/TOPIC/PARTITION/FIRST-LAST.index.avro          and one with what records have besides their values
//	DIR/TOPIC/PARTITION/FIRST-LAST.sha256.json         the segment's manifest: hashes, and that of the manifest before
//	DIR/TOPIC/PARTITION/FIRST.jsonl.part, .avro.part   the open segment
//
// See docs/formats/archive.md for every field.
//
// # What decides the cuts
//
// A segment is cut when it has a number of records, or a number of bytes of keys and values as on the topic. Neither time
// nor the sizes of deliveries play a part: two archives that begin at the same offset have the same segments, byte by
// byte. Offsets of derived topics depend on aborted transactions, so they name records only within one log.
//
// # Exactly once
//
// Deliver returns nil when its records are in the open segment and synced. What a crash leaves behind the last whole record
// is cut off when the partition is opened again, and Resume tells the runner where to go on, whatever the consumer group
// has committed. A record that comes again is compared with the one that is there: if it differs, the topic was made
// anew under the same name, and Deliver returns an error instead of taking the new records for old ones.
//
// # What it is not for
//
// The chain of hashes shows what was changed in the middle of an archive. It does not show that the end was cut off, or
// that somebody wrote all of it anew: keep the hash of the newest manifest elsewhere, or see package audit.
package file
