// Package schemas is the vocabulary of Amoskys: the Avro schemas of everything that is ever written to a topic, their Go
// types, the codec between the two, the declaration of all topics, and the rules for identities.
//
// It is a leaf: it imports nothing of ours and knows nothing of Kafka beyond the Confluent wire format (a zero byte and a
// four-byte big-endian schema id before the Avro body), so that any Kafka tool with a schema registry reads our topics.
//
// The files avsc/*.avsc are the only source of truth; types_gen.go is generated from them. Names and numbers follow OCSF
// 1.8 (class_uid, activity_id); where ECS differs, the field's doc says so. Fields are never nullable: the zero value
// means "not known", which keeps encodings cheap and the same for the same facts. There are no Avro maps, whose
// encoding order is not defined.
//
// Compatibility is BACKWARD_TRANSITIVE: a new version reads every record that any released version wrote. Add fields with
// a default; never rename, remove or retype one. The golden bytes under testdata/golden hold the promise.
package schemas

//go:generate go run ./internal/gen avsc types_gen.go
