package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// streamsPOM asks for Apache Kafka Streams.
const streamsPOM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>moldau.test</groupId>
  <artifactId>streams-class-path</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId><version>` + Version + `</version></dependency>
  </dependencies>
</project>
`

// StreamsClassPath fetches Apache Kafka Streams if need be and returns the class path with all of it.
func StreamsClassPath() (string, error) {
	if err := Missing(); err != nil {
		return "", err
	}
	dir, err := Once("streams-"+Version, func(dir string) error {
		fmt.Fprintf(os.Stderr, "fetching Apache Kafka Streams %s from Maven Central into %s (once, 95 MB)\n", Version, dir)
		if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(streamsPOM), 0o644); err != nil {
			return err
		}
		mvn := exec.Command("mvn", "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory="+dir)
		mvn.Dir = dir
		if out, err := mvn.CombinedOutput(); err != nil {
			return fmt.Errorf("mvn: %w\n%s", err, out)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("get Apache Kafka Streams %s: %w", Version, err)
	}
	return filepath.Join(dir, "*"), nil
}
