import org.apache.kafka.common.metadata.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.server.common.ApiMessageAndVersion;
import org.apache.kafka.metadata.MetadataRecordSerde;
import java.util.*;
/**
 * Writes testdata/golden.txt: each sample of schema_test.go in the bytes of Apache Kafka 4.3.1. Run it on the class path of a
 * Kafka distribution: java -cp "libs/*" Golden.java
 */
public class Golden {
 static void w(String name, ApiMessage m, int... vs){ for(int v: vs){ var serde=new MetadataRecordSerde(); var c=new ObjectSerializationCache(); var r=new ApiMessageAndVersion(m,(short)v); int n=serde.recordSize(r,c); var b=new ByteBufferAccessor(java.nio.ByteBuffer.allocate(n)); serde.write(r,c,b); System.out.println(name+" "+v+" "+HexFormat.of().formatHex(b.buffer().array())); } }
 public static void main(String[] a){
  System.out.println("# What org.apache.kafka.metadata.MetadataRecordSerde of Apache Kafka 4.3.1 writes of the samples in schema_test.go:");
  System.out.println("# sample, record version, bytes.");
  Uuid A=new Uuid(0x0102030405060708L,0x090a0b0c0d0e0f10L), B=new Uuid(0x1112131415161718L,0x191a1b1c1d1e1f20L);
  var eps=new RegisterBrokerRecord.BrokerEndpointCollection();
  eps.add(new RegisterBrokerRecord.BrokerEndpoint().setName("PLAINTEXT").setHost("127.0.0.1").setPort(9092).setSecurityProtocol((short)0));
  eps.add(new RegisterBrokerRecord.BrokerEndpoint().setName("SASL").setHost("broker.example").setPort(65535).setSecurityProtocol((short)3));
  var fs=new RegisterBrokerRecord.BrokerFeatureCollection();
  fs.add(new RegisterBrokerRecord.BrokerFeature().setName("metadata.version").setMinSupportedVersion((short)7).setMaxSupportedVersion((short)30));
  var rb=new RegisterBrokerRecord().setBrokerId(300).setIncarnationId(A).setBrokerEpoch(1234567890123L).setEndPoints(eps).setFeatures(fs).setRack("r1").setFenced(true);
  w("broker-small", new RegisterBrokerRecord().setBrokerId(1).setIncarnationId(A).setBrokerEpoch(5).setRack(null).setFenced(false),0,1,2,3,4);
  w("broker", rb,0,1,2,3,4);
  rb=rb.duplicate().setInControlledShutdown(true);
  w("broker-shutdown", rb,1,2,3,4);
  rb=rb.duplicate().setLogDirs(List.of(A,B));
  w("broker-dirs", rb,3,4);
  rb=rb.duplicate().setCordonedLogDirs(List.of(B));
  w("broker-cordoned", rb,4);
  w("unregister", new UnregisterBrokerRecord().setBrokerId(2).setBrokerEpoch(77),0);
  w("topic", new TopicRecord().setName("page-views").setTopicId(A),0);
  var p=new PartitionRecord().setPartitionId(3).setTopicId(A).setReplicas(List.of(1,2,300)).setIsr(List.of(1,2)).setLeader(1).setLeaderEpoch(4).setPartitionEpoch(9);
  w("partition", p,0);
  p=p.duplicate().setRemovingReplicas(List.of(1)).setAddingReplicas(List.of(300)).setLeaderRecoveryState((byte)1);
  w("partition-moving", p,0);
  p=p.duplicate().setDirectories(List.of(A,B,Uuid.ZERO_UUID));
  w("partition-dirs", p,1,2);
  p=p.duplicate().setEligibleLeaderReplicas(List.of(300)).setLastKnownElr(List.of(2,300));
  w("partition-elr", p,2);
  w("config", new ConfigRecord().setResourceType((byte)2).setResourceName("page-views").setName("retention.ms").setValue("1000"),0);
  w("config-removed", new ConfigRecord().setResourceType((byte)4).setResourceName("").setName("message.max.bytes").setValue(null),0);
  w("change-none", new PartitionChangeRecord().setPartitionId(1).setTopicId(B),0,1,2);
  var c=new PartitionChangeRecord().setPartitionId(1).setTopicId(B).setIsr(List.of(2)).setLeader(2).setReplicas(List.of(2,3)).setRemovingReplicas(List.of()).setAddingReplicas(List.of(3)).setLeaderRecoveryState((byte)0);
  w("change", c,0,1,2);
  c=c.duplicate().setDirectories(List.of(A,B));
  w("change-dirs", c,1,2);
  c=c.duplicate().setEligibleLeaderReplicas(List.of(3)).setLastKnownElr(List.of()).setLeader(-1);
  w("change-elr", c,2);
  w("fence", new FenceBrokerRecord().setId(1).setEpoch(9),0);
  w("unfence", new UnfenceBrokerRecord().setId(1).setEpoch(9),0);
  w("remove-topic", new RemoveTopicRecord().setTopicId(A),0);
  w("feature", new FeatureLevelRecord().setName("metadata.version").setFeatureLevel((short)30),0);
  w("producer-ids", new ProducerIdsRecord().setBrokerId(1).setBrokerEpoch(5).setNextProducerId(2000),0);
  w("registration-change-none", new BrokerRegistrationChangeRecord().setBrokerId(1).setBrokerEpoch(5),0,1,2,3);
  var r=new BrokerRegistrationChangeRecord().setBrokerId(1).setBrokerEpoch(5).setFenced((byte)-1);
  w("registration-change", r,0,1,2,3);
  r=r.duplicate().setInControlledShutdown((byte)1);
  w("registration-change-shutdown", r,1,2,3);
  r=r.duplicate().setLogDirs(List.of(A));
  w("registration-change-dirs", r,2,3);
  r=r.duplicate().setCordonedLogDirs(List.of());
  w("registration-change-cordoned", r,3);
  w("noop", new NoOpRecord(),0);
 }}
