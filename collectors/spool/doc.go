// Package spool is the log that every collector writes through. What Append returned for survives a kill of the process, and
// a power cut a second later; a shipper drains it to the ingest topic when brokers are there, and it holds what collects
// while they are away.
//
//	s, err := spool.Open(spool.Config{Dir: dir, Topic: schemas.EndpointTopic, Identity: id, Limits: spool.DefaultLimits()})
//	…
//	go s.Ship(ctx, producer)
//	err = collector.Collect(ctx, s)
//
// Events that come with a whole identity of their own, as recorded ones do, keep it and go through one more log. For all
// others there is one log per priority, and each is one sequence space: streams p0, p1 and p2. Numbers begin at 1, have no
// gaps, and go on after a restart. A spool directory has an incarnation of its own that is part of the boot in every
// envelope (BOOT.INCARNATION), so a lost directory never leads to numbers that are used again for other events. A new one is
// made where numbers that were given may not be known any more, too: after a torn tail, and after a crash of the machine.
//
// An Append is all or nothing, also over several streams. Over its limits the spool drops whole segments, of the lowest
// priority first and the oldest first. Every drop is counted and told by an event, and the missing numbers tell it once
// more.
//
// # Directory
//
//	lock                   locked while a process has the spool open
//	open                   there from Open to Close
//	incarnation            name of the sequence spaces, and the boot in which it was used last
//	schemas/NAME@MARK.avsc each schema that records were written with; MARK is the first 4 bytes of the SHA-256 of its text
//	p0/ p1/ p2/ own/       the logs:
//	  NUMBER.seg           segments of 16 MiB, named by the number of their first record, 20 digits
//	  cursor               number of the first record that is not acknowledged
//	  next                 number of the next record, as of the last time that the log was closed or emptied
//
// A record in a segment is
//
//	length  uint32  little endian, of the payload
//	crc     uint32  little endian, CRC-32C (Castagnoli) of the payload
//	payload: number in its log, varint, then topic, schema (NAME@MARK) and key as texts with their length before them, then
//	the Avro body
//
// A later version of the program that ships what an earlier one wrote brings bodies to its own schemas.
//
// # Damage
//
// A torn tail, as a power cut leaves it, is cut off at open. Damage in the middle costs the records that it lies in: reading
// goes on at the next record that is whole and has a number that may follow. What is missing is counted and told.
package spool
