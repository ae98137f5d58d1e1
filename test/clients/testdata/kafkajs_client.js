// MODULES produce ADDRESS TOPIC CODEC, with kafkajs from the directory MODULES.
'use strict'

const path = require('path')
const [modules, mode, address, topic, codec] = process.argv.slice(2)
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

async function main() {
  if (mode !== 'produce') throw new Error('kafkajs consumes through groups alone')
  const kafka = new Kafka({ brokers: [address], logLevel: logLevel.WARN })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  await producer.send({ topic, acks: -1, compression: CompressionTypes[types[codec]], messages: records() })
  await producer.disconnect()
}

main().catch((err) => {
  console.error(err)
  process.exit(1)
})
