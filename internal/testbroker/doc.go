// Package testbroker gives tests and tools a Kafka cluster: the same test body runs on kfake, on one Apache Kafka broker
// and on three, over plain TCP or over mutual TLS with ACLs.
//
// Where a real broker comes from, in this order:
//
//   - AMOSKYS_BROKERS, a cluster that runs already. It cannot be killed, and its topics are shared.
//   - Containers, where a Docker engine runs: the image KAFKA_IMAGE (default apache/kafka:4.3.0), pulled, or built by
//     deploy/kafka/build-image.sh where nothing can be pulled.
//   - Plain processes, where there is Java 17: the jars of deploy/kafka/pom.xml, fetched once by Maven.
//
// AMOSKYS_TEST_BROKER=containers or =processes asks for one of the two. Where none can be had the test is skipped with
// the reason; with AMOSKYS_REQUIRE_KAFKA=1 it fails, so that a run which promises real Kafka cannot pass without it.
//
//	func TestAlertsOnce(t *testing.T) {
//		testbroker.Each(t, func(t *testing.T, c *testbroker.Cluster) {
//			run(t, c.Addrs())
//		})
//	}
//
// Every cluster belongs to one test, with its own data in the test's temporary directory; it is up, answering ApiVersions
// on each broker, when Start returns, and gone when the test ends. What the brokers logged is printed if the test failed.
//
// This package is imported by tests and by tools of this repository only, never by the program.
package testbroker
