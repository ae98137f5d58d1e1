// MODULES produce ADDRESS TOPIC CODEC | MODULES group ADDRESS TOPIC NUMBER GROUP, with kafkajs from the directory MODULES.
'use strict'

const path = require('path')
const [modules, mode, address, topic, last, group] = process.argv.slice(2)
const load = (name) => require(path.join(modules, name))
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = load('kafkajs')

CompressionCodecs[CompressionTypes.Snappy] = load('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => load('lz4-napi').compressFrame(encoder.buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: (encoder) =>
    new Promise((resolve) =>
      load('zstd-codec').ZstdCodec.run((zstd) => resolve(Buffer.from(new zstd.Simple().compress(encoder.buffer))))
    ),
})

const types = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }

// Reads records as lines: key, value and each header's name and value, as base64, with tabs between them.
function records() {
  return require('fs')
    .readFileSync(0, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const f = line.split('\t').map((word) => Buffer.from(word, 'base64'))
      const headers = {}
      for (let i = 2; i < f.length; i += 2) headers[f[i].toString()] = f[i + 1]
      return { key: f[0], value: f[1], headers, partition: 0 }
    })
}

// Prints records as a member of the group, and commits each.
async function consume(kafka) {
  const consumer = kafka.consumer({ groupId: group })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  let left = Number(last)
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, (event) => reject(event.payload.error))
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        if (left <= 0) return
        const fields = [message.key, message.value]
        for (const [name, value] of Object.entries(message.headers)) fields.push(Buffer.from(name), value)
        console.log(fields.map((f) => (f || Buffer.alloc(0)).toString('base64')).join('\t'))
        await consumer.commitOffsets([{ topic, partition, offset: (BigInt(message.offset) + 1n).toString() }])
        if (--left === 0) resolve()
      },
    })
  })
  await consumer.disconnect()
}

async function main() {
  const kafka = new Kafka({ brokers: [address], logLevel: logLevel.WARN })
  if (mode === 'group') return consume(kafka)
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  await producer.send({ topic, acks: -1, compression: CompressionTypes[types[last]], messages: records() })
  await producer.disconnect()
}

main().catch((err) => {
  console.error(err)
  process.exit(1)
})
