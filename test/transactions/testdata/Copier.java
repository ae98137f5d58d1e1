import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** ADDRESS FROM TO: copies exactly once for ever, with Apache Kafka's own client. Any error ends it. */
public class Copier {
    public static void main(String[] args) {
        Map<String, Object> in = Map.of("bootstrap.servers", args[0], "group.id", "copiers", "group.instance.id", "copier",
            "enable.auto.commit", false, "auto.offset.reset", "earliest", "isolation.level", "read_committed", "max.poll.records", 100);
        Map<String, Object> out = Map.of("bootstrap.servers", args[0], "transactional.id", "copier");
        try (var consumer = new KafkaConsumer<>(in, new StringDeserializer(), new StringDeserializer());
             var producer = new KafkaProducer<>(out, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            consumer.subscribe(List.of(args[1]));
            while (true) {
                var records = consumer.poll(Duration.ofSeconds(1));
                if (records.isEmpty()) {
                    continue;
                }
                producer.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                for (var r : records) {
                    producer.send(new ProducerRecord<>(args[2], r.partition(), null, "copy of " + r.value()));
                    next.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                }
                producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
                producer.commitTransaction();
            }
        } catch (RuntimeException e) {
            e.printStackTrace();
            System.exit(1);
        }
    }
}
