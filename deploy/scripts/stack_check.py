#!/usr/bin/env python3
"""Reads alerts as anybody outside would: Confluent's consumer and Avro deserializer, schema ids resolved by our registry.

Only committed records are read, so an alert of a transaction that was aborted cannot be seen. Exits 1 when within the
time there is no alert about the given host, or when a record cannot be decoded.
"""

import argparse
import json
import sys
import time

from confluent_kafka import Consumer, KafkaError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--brokers", required=True)
    p.add_argument("--registry", required=True)
    p.add_argument("--topic", default="amoskys.alerts.finding.v1")
    p.add_argument("--host", required=True, help="host that an alert must be about: its name or id")
    p.add_argument("--timeout", type=float, default=60, help="seconds")
    return p.parse_args()


def records(consumer: Consumer, topic: str, deadline: float):
    """Yields messages until every partition has been read to its end, then goes on until the deadline."""
    consumer.subscribe([topic])
    while time.monotonic() < deadline:
        msg = consumer.poll(1.0)
        if msg is None:
            continue
        if msg.error():
            if msg.error().code() == KafkaError._PARTITION_EOF:
                continue
            raise SystemExit(f"read {topic}: {msg.error()}")
        yield msg


def text(value, limit=100) -> str:
    s = value if isinstance(value, str) else json.dumps(value, default=str)
    return s if len(s) <= limit else s[: limit - 1] + "…"


def main() -> int:
    args = arguments()
    decode = AvroDeserializer(SchemaRegistryClient({"url": args.registry}))
    consumer = Consumer(
        {
            "bootstrap.servers": args.brokers,
            "group.id": f"stack-check-{time.time_ns()}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    seen = about = 0
    quiet_since = None
    try:
        for msg in records(consumer, args.topic, time.monotonic() + args.timeout):
            value = decode(msg.value(), SerializationContext(msg.topic(), MessageField.VALUE))
            if "title" not in value:  # ticks and progress travel on the same topic
                if about and quiet_since and time.monotonic() - quiet_since > 3:
                    break
                continue
            seen += 1
            quiet_since = time.monotonic()
            key = (msg.key() or b"").decode(errors="replace")
            mine = args.host in key or args.host in json.dumps(value, default=str)
            about += mine
            print(f"  {value['title']}  [{msg.topic()}/{msg.partition()}@{msg.offset()}]")
            value["causes"] = value["provenance"]["causes"]
            for field in ("id", "revision", "severity", "techniques", "entity", "process", "detectors", "causes"):
                print(f"      {field}: {text(value[field])}")
            if about >= 3:
                break
    finally:
        consumer.close()
    print(f"  {seen} alerts decoded, {about} about {args.host}")
    return 0 if about else 1


if __name__ == "__main__":
    sys.exit(main())
