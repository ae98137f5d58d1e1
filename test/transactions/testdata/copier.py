"""ADDRESS FROM TO: copies exactly once for ever, with confluent-kafka (librdkafka). Any error ends it.

When all brokers are gone for a while librdkafka forgets them and begins anew, but keeps the old one as the coordinator of the
group, and never sends it the offsets of a transaction; with metadata.recovery.strategy none it forgets nobody.
"""

import os
import sys
import traceback

from confluent_kafka import Consumer, Producer


def copy(address, source, target):
    consumer = Consumer({"bootstrap.servers": address, "group.id": "copiers", "group.instance.id": "copier", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "isolation.level": "read_committed", "metadata.recovery.strategy": "none"})
    producer = Producer({"bootstrap.servers": address, "transactional.id": "copier", "metadata.recovery.strategy": "none"})
    producer.init_transactions(60)
    consumer.subscribe([source])
    while True:
        messages = [m for m in consumer.consume(100, 1) if not m.error()]
        if not messages:
            continue
        producer.begin_transaction()
        for m in messages:
            producer.produce(target, value=b"copy of " + m.value(), partition=m.partition())
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)


try:
    copy(*sys.argv[1:])
except BaseException:
    traceback.print_exc()
    os._exit(1)  # the end of the clients would wait for what cannot be sent
