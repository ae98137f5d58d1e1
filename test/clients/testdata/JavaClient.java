import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** produce ADDRESS TOPIC CODEC | consume ADDRESS TOPIC NUMBER | group ADDRESS TOPIC NUMBER GROUP, with Apache Kafka's own client. */
public class JavaClient {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("produce")) {
            produce(args[1], args[2], args[3]);
        } else {
            consume(args[1], args[2], Integer.parseInt(args[3]), args.length > 4 ? args[4] : null);
        }
    }

    static void produce(String address, String topic, String codec) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", address, "compression.type", codec, "linger.ms", 50);
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            var in = new BufferedReader(new InputStreamReader(System.in));
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String[] f = line.split("\t", -1);
                var record = new ProducerRecord<>(topic, 0, bytes(f[0]), bytes(f[1]));
                for (int i = 2; i < f.length; i += 2) {
                    record.headers().add(new String(bytes(f[i]), "UTF-8"), bytes(f[i + 1]));
                }
                sent.add(producer.send(record));
            }
            for (var s : sent) {
                s.get();
            }
        }
    }

    static void consume(String address, String topic, int left, String group) throws Exception {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", address, "enable.auto.commit", false,
            "auto.offset.reset", "earliest"));
        if (group != null) {
            config.put("group.id", group);
        }
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            if (group != null) {
                consumer.subscribe(List.of(topic));
            } else {
                var partitions = List.of(new TopicPartition(topic, 0));
                consumer.assign(partitions);
                consumer.seekToBeginning(partitions);
            }
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (left > 0) {
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException(left + " records have not come");
                }
                for (var r : consumer.poll(Duration.ofSeconds(1))) {
                    var out = new StringBuilder(text(r.key())).append('\t').append(text(r.value()));
                    for (Header h : r.headers()) {
                        out.append('\t').append(text(h.key().getBytes("UTF-8"))).append('\t').append(text(h.value()));
                    }
                    System.out.println(out);
                    if (group != null) {
                        consumer.commitSync(Map.of(new TopicPartition(topic, r.partition()), new OffsetAndMetadata(r.offset() + 1)));
                    }
                    if (--left == 0) {
                        break;
                    }
                }
            }
        }
    }

    static byte[] bytes(String base64) {
        return Base64.getDecoder().decode(base64);
    }

    static String text(byte[] b) {
        return Base64.getEncoder().encodeToString(b);
    }
}
