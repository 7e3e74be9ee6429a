package testbroker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
)

// clusterID is the same for every cluster: they never meet, since each has its own ports and data.
const clusterID = "YW1vc2t5cy10ZXN0LWt2YQ" // 16 bytes in base64 without padding

// A place is where one broker listens, and under which name the others reach it.
type place struct {
	bind       string // address the listeners bind to
	host       string // name or address for the other brokers
	client     int    // port for clients, reached at 127.0.0.1
	broker     int    // port for the other brokers
	controller int    // port of the Raft quorum
}

// addr is where clients reach the broker.
func (p place) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.client)) }

// properties returns the settings of broker i of a cluster at the given places: broker and controller in one (KRaft).
// Clients and brokers have a listener each, since a broker in a container cannot reach itself by the address that it
// advertises to clients outside, and then every transaction hangs.
func (o Options) properties(i int, places []place, logDir string, files brokerFiles) map[string]string {
	p := places[i]
	var quorum []string
	for n, q := range places {
		quorum = append(quorum, fmt.Sprintf("%d@%s:%d", n+1, q.host, q.controller))
	}
	replicas, inSync := strconv.Itoa(len(places)), strconv.Itoa(min(2, len(places)))
	protocol := "PLAINTEXT"
	if o.TLS {
		protocol = "SSL"
	}
	s := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(i + 1),
		"controller.quorum.voters":       strings.Join(quorum, ","),
		"listeners":                      fmt.Sprintf("CLIENT://%[1]s:%[2]d,BROKER://%[1]s:%[3]d,CONTROLLER://%[1]s:%[4]d", p.bind, p.client, p.broker, p.controller),
		"advertised.listeners":           fmt.Sprintf("CLIENT://%s,BROKER://%s:%d", p.addr(), p.host, p.broker),
		"listener.security.protocol.map": fmt.Sprintf("CLIENT:%[1]s,BROKER:%[1]s,CONTROLLER:%[1]s", protocol),
		"inter.broker.listener.name":     "BROKER",
		"controller.listener.names":      "CONTROLLER",
		"log.dirs":                       logDir,

		"auto.create.topics.enable":                        "false",
		"num.partitions":                                   "4",
		"default.replication.factor":                       replicas,
		"min.insync.replicas":                              inSync,
		"offsets.topic.replication.factor":                 replicas,
		"offsets.topic.num.partitions":                     "8", // 50 by default: three JVMs on two cores fail over sooner with few
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    inSync,
		"transaction.state.log.num.partitions":             "8",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            inSync,

		// KIP-848: the timeouts of a group are the broker's, 45 s by default.
		"group.consumer.session.timeout.ms":        millis(o.GroupSession),
		"group.consumer.min.session.timeout.ms":    millis(o.GroupSession),
		"group.consumer.heartbeat.interval.ms":     millis(o.GroupSession / 6),
		"group.consumer.min.heartbeat.interval.ms": millis(o.GroupSession / 6),
		"group.initial.rebalance.delay.ms":         "0",
		"group.min.session.timeout.ms":             "1000",

		"broker.session.timeout.ms":                                   millis(o.BrokerSession),
		"broker.heartbeat.interval.ms":                                millis(min(o.BrokerSession/6, 2e9)),
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": millis(o.TransactionCleanup),
	}
	if o.TLS {
		maps.Copy(s, map[string]string{
			"ssl.client.auth":             "required",
			"ssl.keystore.type":           "PEM",
			"ssl.keystore.location":       files.node,
			"ssl.truststore.type":         "PEM",
			"ssl.truststore.location":     files.ca,
			"ssl.enabled.protocols":       "TLSv1.3",
			"ssl.protocol":                "TLSv1.3",
			"ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
			"authorizer.class.name":       "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":                 "User:" + brokerRole + ";User:" + Admin,
		})
	}
	maps.Copy(s, o.Settings)
	return s
}

// brokerFiles are the PEM files of a broker, as it sees them.
type brokerFiles struct{ ca, node string }

func millis(d interface{ Milliseconds() int64 }) string {
	return strconv.FormatInt(d.Milliseconds(), 10)
}

// propertiesFile renders settings as server.properties.
func propertiesFile(s map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s=%s\n", k, strings.ReplaceAll(s[k], `\`, `\\`))
	}
	return b.String()
}

// environment renders settings as the variables that the apache/kafka image turns into server.properties.
func environment(s map[string]string) map[string]string {
	names := strings.NewReplacer(".", "_", "_", "__", "-", "___")
	env := map[string]string{"CLUSTER_ID": clusterID}
	for k, v := range s {
		env["KAFKA_"+strings.ToUpper(names.Replace(k))] = v
	}
	return env
}

// freePorts finds n ports that nobody listens on, below the range from which the kernel takes ports for outgoing
// connections: a port from there could be taken in the seconds until the broker binds it, or while a killed broker is away.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		p := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil || slices.Contains(ports, p) {
			continue
		}
		_ = l.Close()
		if ports = append(ports, p); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("find %d free ports between 20000 and 32000: all are taken", n)
}
