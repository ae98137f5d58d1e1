"""produce ADDRESS TOPIC CODEC | consume ADDRESS TOPIC NUMBER | group ADDRESS TOPIC NUMBER GROUP, with confluent-kafka (librdkafka)."""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition, OFFSET_BEGINNING

import lines

mode, address, topic, last, *group = sys.argv[1:]
if mode == "produce":
    errors = []
    producer = Producer({"bootstrap.servers": address, "compression.type": last, "linger.ms": 50, "acks": "all",
                         "enable.idempotence": True})
    for key, value, headers in lines.read():
        producer.produce(topic, key=key, value=value, headers=headers, partition=0,
                         on_delivery=lambda err, _: err and errors.append(err))
    left = producer.flush(60)
    if errors or left:
        sys.exit(f"{left} records not delivered, errors: {errors}")
elif mode == "group":
    consumer = Consumer({"bootstrap.servers": address, "group.id": group[0], "enable.auto.commit": False,
                         "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    for _ in range(int(last)):
        m = consumer.poll(60)
        if m is None or m.error():
            sys.exit(f"no record: {m and m.error()}")
        lines.write(m.key(), m.value(), m.headers())
        consumer.commit(m, asynchronous=False)
    consumer.close()
else:
    # A group id is required, though none is joined: assign() needs no coordinator.
    consumer = Consumer({"bootstrap.servers": address, "group.id": "none", "enable.auto.commit": False,
                         "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    for _ in range(int(last)):
        m = consumer.poll(60)
        if m is None or m.error():
            sys.exit(f"no record: {m and m.error()}")
        lines.write(m.key(), m.value(), m.headers())
    consumer.close()
