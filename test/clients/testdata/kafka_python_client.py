"""produce ADDRESS TOPIC CODEC | consume ADDRESS TOPIC NUMBER | group ADDRESS TOPIC NUMBER GROUP, with kafka-python."""

import sys

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

import lines

mode, address, topic, last, *group = sys.argv[1:]
if mode == "produce":
    producer = KafkaProducer(bootstrap_servers=address, acks="all", linger_ms=50,
                             compression_type=None if last == "none" else last)
    sent = [producer.send(topic, key=key, value=value, headers=headers, partition=0)
            for key, value, headers in lines.read()]
    for future in sent:
        future.get(60)
    producer.close()
else:
    consumer = KafkaConsumer(bootstrap_servers=address, group_id=group[0] if group else None, consumer_timeout_ms=60000,
                             enable_auto_commit=False, auto_offset_reset="earliest")
    if group:
        consumer.subscribe([topic])
    else:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
    left = int(last)
    for m in consumer:
        lines.write(m.key, m.value, m.headers)
        if group:
            consumer.commit({TopicPartition(m.topic, m.partition): OffsetAndMetadata(m.offset + 1, "", -1)})
        left -= 1
        if left == 0:
            break
    consumer.close()
    if left:
        sys.exit(f"{left} records have not come")
