import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.TopicPartitionReplica;

/** Moves partition 0 of a topic to a log directory by Apache Kafka's own Admin: bootstrap topic broker directory. */
public class MoveReplica {
    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            TopicPartitionReplica replica = new TopicPartitionReplica(args[1], 0, Integer.parseInt(args[2]));
            try {
                admin.alterReplicaLogDirs(Map.of(replica, "/nowhere")).all().get();
                System.out.println("moved to nowhere");
            } catch (ExecutionException e) {
                System.out.println(e.getCause().getClass().getSimpleName());
            }
            admin.alterReplicaLogDirs(Map.of(replica, args[3])).all().get();
            for (int i = 0; i < 600; i++) {
                String now = admin.describeReplicaLogDirs(List.of(replica)).all().get().get(replica).getCurrentReplicaLogDir();
                if (args[3].equals(now)) {
                    System.out.println("moved");
                    return;
                }
                Thread.sleep(100);
            }
        }
    }
}
