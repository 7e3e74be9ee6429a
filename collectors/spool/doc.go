// Package spool is the log that every collector writes through. What Append returned for survives a kill of the process; a
// shipper drains it to the ingest topic when brokers are there, and it holds what collects while they are away.
//
// Events that come with a whole identity of their own, as recorded ones do, keep it and go through one more log. For all
// others there is one log per priority, and each is one sequence space: streams p0, p1 and p2. Numbers begin at 1, have no gaps,
// and go on after a restart. A spool directory has an incarnation of its own that is part of the boot in every envelope, so
// a lost directory never leads to numbers that are used again for other events.
//
// Over its limits the spool drops whole segments, of the lowest priority first and the oldest first. Every drop is counted
// and told by an event, and the missing numbers tell it once more.
//
// # Segment format
//
// A log is a folder of segments named by the sequence number of their first record, 20 digits. A record is
//
//	length  uint32  little endian, of the payload
//	crc     uint32  little endian, CRC-32C (Castagnoli) of the payload
//	payload: sequence varint, then topic, schema, key as length-prefixed texts, then the Avro body
//
// A torn tail, as a power cut leaves it, is cut off at open. A record with a wrong checksum in the middle ends its segment:
// where the next record begins is not known any more. What is skipped is counted as lost.
package spool
