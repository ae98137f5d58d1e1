"""produce ADDRESS TOPIC CODEC | consume ADDRESS TOPIC NUMBER | group ADDRESS TOPIC NUMBER GROUP, with aiokafka."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

import lines

mode, address, topic, last, *group = sys.argv[1:]


async def produce():
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True, linger_ms=50,
                                compression_type=None if last == "none" else last)
    await producer.start()
    sent = [await producer.send(topic, key=key, value=value, headers=headers, partition=0)
            for key, value, headers in lines.read()]
    await asyncio.wait_for(asyncio.gather(*sent), 60)
    await producer.stop()


async def consume():
    consumer = AIOKafkaConsumer(bootstrap_servers=address, group_id=None)
    await consumer.start()
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    for _ in range(int(last)):
        m = await asyncio.wait_for(consumer.getone(), 60)
        lines.write(m.key, m.value, m.headers)
    await consumer.stop()


async def consume_in_group():
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, group_id=group[0], enable_auto_commit=False,
                                auto_offset_reset="earliest")
    await consumer.start()
    for _ in range(int(last)):
        m = await asyncio.wait_for(consumer.getone(), 60)
        lines.write(m.key, m.value, m.headers)
        await consumer.commit({TopicPartition(m.topic, m.partition): m.offset + 1})
    await consumer.stop()


asyncio.run({"produce": produce, "consume": consume, "group": consume_in_group}[mode]())
