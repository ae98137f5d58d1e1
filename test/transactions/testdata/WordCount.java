import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Grouped;

/** ADDRESS FROM TO DIRECTORY: counts the words of FROM exactly once, for ever, and tells each new count in TO. */
public class WordCount {
    public static void main(String[] args) {
        var config = new Properties();
        config.put("application.id", "count-of-" + args[1]);
        config.put("bootstrap.servers", args[0]);
        config.put("state.dir", args[3]);
        config.put("processing.guarantee", "exactly_once_v2");
        config.put("replication.factor", "1");
        config.put("commit.interval.ms", "100");
        config.put("auto.offset.reset", "earliest");
        config.put("default.key.serde", Serdes.StringSerde.class);
        config.put("default.value.serde", Serdes.StringSerde.class);
        config.put("consumer.group.instance.id", "counter");
        config.put("consumer.max.poll.records", "50");
        var builder = new StreamsBuilder();
        builder.<String, String>stream(args[1]).groupBy((k, word) -> word).count()
            .toStream().mapValues(n -> Long.toString(n)).to(args[2]);
        var streams = new KafkaStreams(builder.build(), config);
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.start();
    }
}
