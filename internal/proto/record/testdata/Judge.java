import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.FileRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.ProduceResponse;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.RecordValidationException;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * Judge tells what a real Apache Kafka log does with the records of a Produce request: verdict_test.go runs it.
 * Standard input: name|produce version|topic configuration|records in hex. Standard output: name: code failing-indexes,
 * or name: 0 stored bytes-in-hex. It also writes java-CODEC.bin and java-marker.bin beside itself.
 */
public class Judge {
    public static void main(String[] args) throws Exception {
        long now = Long.parseLong(args[0]);
        golden(now);
        Time time = new FixedTime(now);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        int n = 0;
        for (String line; (line = in.readLine()) != null; n++) {
            String[] part = line.split("\\|", -1);
            System.out.println(part[0] + ": " + judge(time, n, Short.parseShort(part[1]), part[2], HexFormat.of().parseHex(part[3])));
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    static String judge(Time time, int n, short version, String config, byte[] bytes) throws Exception {
        Properties properties = new Properties();
        for (String pair : config.isEmpty() ? new String[0] : config.split(",")) {
            properties.put(pair.substring(0, pair.indexOf('=')), pair.substring(pair.indexOf('=') + 1));
        }
        Path root = Files.createTempDirectory("judge");
        File dir = root.resolve("topic-" + n).toFile();
        Files.createDirectory(dir.toPath());
        try (BrokerTopicStats stats = new BrokerTopicStats()) {
            KafkaScheduler scheduler = new KafkaScheduler(1);
            UnifiedLog log = UnifiedLog.create(dir, new LogConfig(properties), 0L, 0L, scheduler, stats, time, 900_000,
                new ProducerStateManagerConfig(86_400_000, false), 600_000, new LogDirFailureChannel(1), true, Optional.empty());
            try {
                MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(bytes));
                ProduceRequest.validateRecords(version, records);
                log.appendAsLeader(records, 0);
                FileRecords stored = log.activeSegment().log();
                ByteBuffer out = ByteBuffer.allocate(stored.sizeInBytes());
                stored.readInto(out, 0);
                return "0 stored " + HexFormat.of().formatHex(out.array(), 0, out.limit());
            } catch (RecordValidationException e) {
                StringBuilder s = new StringBuilder().append(Errors.forException(e.invalidException()).code());
                for (ProduceResponse.RecordError r : e.recordErrors()) {
                    s.append(' ').append(r.batchIndex);
                }
                return s.toString();
            } catch (Throwable t) {
                if (Errors.forException(t) == Errors.UNKNOWN_SERVER_ERROR) {
                    System.err.println(n + ": " + t);
                }
                return Short.toString(Errors.forException(t).code());
            } finally {
                log.close();
                org.apache.kafka.common.utils.Utils.delete(root.toFile());
            }
        }
    }

    static void golden(long now) throws Exception {
        for (CompressionType type : CompressionType.values()) {
            MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(4096), RecordBatch.CURRENT_MAGIC_VALUE,
                Compression.of(type).build(), TimestampType.CREATE_TIME, 0L);
            builder.append(now, "key".getBytes(), "value".getBytes(),
                new Header[] {new RecordHeader("h", "v".getBytes()), new RecordHeader("null", (byte[]) null)});
            builder.append(now + 5, null, "abc".repeat(300).getBytes());
            builder.append(now - 5, new byte[0], null);
            write("java-" + type.name + ".bin", builder.build().buffer());
        }
        write("java-marker.bin", MemoryRecords.withEndTransactionMarker(0L, now, -1, 4711L, (short) 3,
            new EndTransactionMarker(ControlRecordType.COMMIT, 12)).buffer());
    }

    static void write(String name, ByteBuffer bytes) throws Exception {
        byte[] out = new byte[bytes.remaining()];
        bytes.duplicate().get(out);
        Files.write(Path.of(name), out);
    }

    static class FixedTime implements Time {
        private final long now;

        FixedTime(long now) {
            this.now = now;
        }

        @Override
        public long milliseconds() {
            return now;
        }

        @Override
        public long nanoseconds() {
            return Time.SYSTEM.nanoseconds();
        }

        @Override
        public void sleep(long ms) {
            Time.SYSTEM.sleep(ms);
        }

        @Override
        public void waitObject(Object object, java.util.function.Supplier<Boolean> condition, long deadlineMs) throws InterruptedException {
            Time.SYSTEM.waitObject(object, condition, deadlineMs);
        }
    }
}
