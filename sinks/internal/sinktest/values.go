package sinktest

import (
	"context"
	"fmt"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Batch makes records number from to to-1 of a partition, as they come from a topic: encoded, and with offsets that have
// gaps, where the markers of transactions are.
func Batch(t *schemas.Topic, partition int32, from, to int, make func(i int) schemas.Payload) (batch []streams.Delivery) {
	serde, err := schemas.NewSerde(context.Background(), new(schemas.LocalRegistry))
	if err != nil {
		panic(err) // a registry in memory takes every schema of ours
	}
	for i := from; i < to; i++ {
		v := make(i<<4 | int(partition))
		raw, err := serde.Append(nil, v)
		if err != nil {
			panic(err) // the values are made here
		}
		batch = append(batch, streams.Delivery{Topic: t.Name, Partition: partition, Offset: int64(i + i/7), Key: fmt.Sprintf("t/h%d", partition),
			Timestamp: 1_790_000_000_000 + int64(i), Schema: v.SchemaName(), Value: v, Raw: raw, Trace: schemas.TraceID(fmt.Sprint(i))})
	}
	return batch
}

// Alert is the i-th alert, with text that has to be treated with care.
func Alert(i int) schemas.Payload {
	id := fmt.Sprintf("t/h/b/proc/exec/%d", i)
	return &schemas.Alert{
		Provenance: schemas.Provenance{Tenant: "t", Host: "h", Time: 1_790_000_000_123_456_789 + int64(i), Causes: []string{id},
			Origin: schemas.Origin{Topic: schemas.EndpointTopic.Name, Offset: int64(i)}, Coverage: schemas.Coverage{Received: int64(i), Lost: 2, Since: 1_789_999_999_000_000_000}},
		ID: schemas.AlertID("t", "rule", id, 0, id), Revision: int32(i % 3), Title: fmt.Sprintf("alert %d: <b>\"x\" & 'y'\n", i), Severity: "High", SeverityID: 4,
		Risk: 71.5, FusedP: 1e-7, Entity: schemas.Entity{Type: "process", UID: id, Name: "sh"},
		Process:    schemas.Process{UID: id, PID: 4711, CreatedTime: 1_790_000_000_000_000_001, Name: "sh", Path: "/bin/sh", CmdLine: "sh -c \x1b[2Jid\r\n"},
		Lineage:    []schemas.Ancestor{{Name: "nginx", PID: 80, Path: "/usr/sbin/nginx"}, {Name: "systemd", PID: 1}},
		Techniques: []string{"T1059.004"}, Tactics: []string{"execution"}, Detectors: []schemas.Member{{Name: "signature", Score: 1}, {Name: "rarity", PValue: 1e-4, Weight: 0.4}},
		Inputs: []schemas.Origin{{Topic: schemas.EndpointTopic.Name, Partition: 1, Offset: int64(i)}},
	}
}

// Audit is the i-th audit record.
func Audit(i int) schemas.Payload {
	return &schemas.AuditRecord{ID: fmt.Sprintf("%032x", i), Time: 1_790_000_000_123_456_789 + int64(i), Actor: "root@h", Action: "start", Object: "up", Outcome: "success",
		Version: "v1", ConfigHash: "c0ffee", Detail: fmt.Sprintf(`{"n":%d}`, i)}
}
