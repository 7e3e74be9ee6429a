// Package streams runs processors over Kafka topics so that the same events give the same records, whatever crashed,
// moved or was replayed in between.
//
// # The contract
//
//   - A Processor is a value that declares what it reads, writes and remembers. It is a pure state machine: it reads no
//     clock, no randomness and no network. Time is the event's; ids are derived.
//   - A Stage is a list of processors that run together. They share one decode of each record and hand records over in
//     memory; what they emit is written to its topic all the same. Grouping is configuration: it does not change what
//     any processor sees, in which order.
//   - A Task is a stage over one partition number of its inputs. It has no goroutine, clock or I/O, and is driven alike by
//     a Worker over Kafka, by the test driver of package streamstest, and by a replay.
//   - A Worker is one goroutine with one Kafka transaction at a time, which holds input positions, outputs, changelog and
//     dead letters: all of it happens or none of it.
//
// # Order
//
// Every record of the chain carries the Origin of the ingest record that triggered it. A task with several inputs takes
// records by (origin, input, producer, emit index) and holds a record back until all its inputs have shown, by later
// records or by Progress records, that nothing earlier can come. So the order is a function of the ingest log alone.
//
// # Time
//
// Each processor keeps a watermark per record key: the highest min(event time, ingest time) it has seen. When an ingest
// partition is quiet, its owner writes Tick records; a tick moves the watermark of a key to the tick's time minus the
// delay with which the key's last event arrived, so a forged clock moves nobody else's windows and a host that delivers
// late is not late by its own fault.
//
// # Errors
//
// A record that cannot be decoded, or that a processor refuses with an error or a panic, goes to the dead-letter topic
// with its cause, in the same transaction. What the processor had changed for that record is undone; the record still
// reaches all other processors.
package streams
