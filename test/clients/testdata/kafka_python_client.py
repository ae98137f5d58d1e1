"""produce ADDRESS TOPIC CODEC | consume ADDRESS TOPIC NUMBER, with kafka-python."""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

import lines

mode, address, topic, last = sys.argv[1:]
if mode == "produce":
    producer = KafkaProducer(bootstrap_servers=address, acks="all", linger_ms=50,
                             compression_type=None if last == "none" else last)
    sent = [producer.send(topic, key=key, value=value, headers=headers, partition=0)
            for key, value, headers in lines.read()]
    for future in sent:
        future.get(60)
    producer.close()
else:
    consumer = KafkaConsumer(bootstrap_servers=address, group_id=None, consumer_timeout_ms=60000)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    left = int(last)
    for m in consumer:
        lines.write(m.key, m.value, m.headers)
        left -= 1
        if left == 0:
            break
    consumer.close()
    if left:
        sys.exit(f"{left} records have not come")
