package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Problem is one way in which a topic is not as it is declared.
type Problem struct {
	Topic   string `json:"topic"`
	Setting string `json:"setting"` // a topic setting of Kafka, or "topic", "partitions", "replication"
	Have    string `json:"have"`
	Want    string `json:"want"`
	Remedy  string `json:"remedy"` // what to do about it
}

// String is the problem on one line, with its remedy.
func (p Problem) String() string {
	return fmt.Sprintf("topic %s: %s is %s, want %s: %s", p.Topic, p.Setting, p.Have, p.Want, p.Remedy)
}

// The names of topic settings that are set and verified.
const (
	settingCleanup   = "cleanup.policy"
	settingRetention = "retention.ms"
	settingStamp     = "message.timestamp.type"
	settingInsync    = "min.insync.replicas"
	settingMaxBytes  = "max.message.bytes"
)

// settings are the topic's settings in Kafka's words.
func settings(t *schemas.Topic, replication int) map[string]string {
	s := map[string]string{settingCleanup: "delete", settingStamp: "CreateTime", settingInsync: "1"}
	switch t.Kind {
	case schemas.Table:
		s[settingCleanup] = "compact"
	case schemas.Ingest:
		s[settingStamp] = "LogAppendTime" // time is the broker's: a host cannot forge it
	}
	if t.Kind != schemas.Table {
		s[settingRetention] = "-1"
		if t.Retention > 0 {
			s[settingRetention] = strconv.FormatInt(t.Retention.Milliseconds(), 10)
		}
	}
	if replication >= 3 { // what is acknowledged survives the loss of a broker
		s[settingInsync] = "2"
	}
	return s
}

func partitionsOf(t *schemas.Topic, partitions int) int {
	if t.Partitions > 0 {
		return t.Partitions
	}
	return partitions
}

// EnsureTopics creates the topics that do not exist, with their declared settings, and returns their names. partitions is
// the count of topics that declare none. What exists is not changed: see VerifyTopics. Memory topics are passed over.
func EnsureTopics(ctx context.Context, k Kafka, topics []*schemas.Topic, partitions int, replication int16) (created []string, err error) {
	adm, err := openAdmin(ctx, k)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	var errs []error
	var denied []string
	for _, t := range topics {
		if t.Kind == schemas.Memory {
			continue
		}
		cfg := map[string]*string{}
		for name, v := range settings(t, int(replication)) {
			cfg[name] = &v
		}
		r, err := adm.CreateTopic(ctx, int32(partitionsOf(t, partitions)), replication, cfg, t.Name)
		switch {
		case errors.Is(err, kerr.TopicAlreadyExists):
		case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
			denied = append(denied, t.Name)
		case err != nil:
			if r.ErrMessage != "" {
				err = fmt.Errorf("%w: %s", err, r.ErrMessage)
			}
			errs = append(errs, fmt.Errorf("create topic %s: %w", t.Name, err))
			if ctx.Err() != nil {
				return created, errors.Join(errs...)
			}
		default:
			created = append(created, t.Name)
		}
	}
	if len(errs) > 0 {
		return created, errors.Join(errs...)
	}
	return created, stillMissing(ctx, adm, denied)
}

// ErrNotAllowed is returned by EnsureTopics when all that is in the way is that topics may not be created, and those are
// not seen to be there: a role with few rights sees only the topics that it works with.
var ErrNotAllowed = errors.New("not authorized to create topics")

// stillMissing is the error that names the denied topics that are not seen.
func stillMissing(ctx context.Context, adm *kadm.Client, denied []string) error {
	if len(denied) == 0 {
		return nil
	}
	ds, err := adm.ListTopics(ctx, denied...)
	if err != nil && !errors.Is(err, kerr.TopicAuthorizationFailed) {
		return fmt.Errorf("list topics: %w", err)
	}
	there := existing(ds)
	denied = slices.DeleteFunc(denied, func(name string) bool { return slices.Contains(there, name) })
	if len(denied) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotAllowed, strings.Join(denied, ", "))
}

// MissingTopics returns the names of the topics that do not exist, in their order. One that may not be seen counts as there:
// who works with it says so itself. Memory topics are passed over.
func MissingTopics(ctx context.Context, k Kafka, topics []*schemas.Topic) (missing []string, err error) {
	adm, err := openAdmin(ctx, k)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	all, err := adm.ListTopics(ctx) // asked for by name, one that may not be seen hides the others
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	for _, t := range topics {
		if t.Kind == schemas.Memory || all.Has(t.Name) {
			continue
		}
		ds, err := adm.ListTopics(ctx, t.Name)
		switch {
		case errors.Is(err, kerr.TopicAuthorizationFailed):
		case err != nil:
			return nil, fmt.Errorf("list topic %s: %w", t.Name, err)
		case errors.Is(ds[t.Name].Err, kerr.UnknownTopicOrPartition):
			missing = append(missing, t.Name)
		}
	}
	return missing, nil
}

// VerifyTopics compares topics with their declaration and returns every difference, in the order of the topics.
func VerifyTopics(ctx context.Context, k Kafka, topics []*schemas.Topic, partitions int) ([]Problem, error) {
	adm, err := openAdmin(ctx, k)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	var names []string
	for _, t := range topics {
		if t.Kind != schemas.Memory {
			names = append(names, t.Name)
		}
	}
	details, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	have, err := topicSettings(ctx, adm, existing(details))
	if err != nil {
		return nil, err
	}
	var ps []Problem
	for _, t := range topics {
		if t.Kind != schemas.Memory {
			ps = append(ps, verify(t, partitions, details[t.Name], have[t.Name])...)
		}
	}
	return ps, nil
}

func existing(ds kadm.TopicDetails) (names []string) {
	for _, d := range ds.Sorted() {
		if d.Err == nil {
			names = append(names, d.Topic)
		}
	}
	return names
}

func verify(t *schemas.Topic, partitions int, d kadm.TopicDetail, have map[string]string) (ps []Problem) {
	if d.Err != nil || len(d.Partitions) == 0 {
		missing := "missing"
		if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			missing = d.Err.Error()
		}
		return []Problem{{t.Name, "topic", missing, "there", "create the topics: amoskys topics create"}}
	}
	if n := partitionsOf(t, partitions); len(d.Partitions) != n {
		ps = append(ps, Problem{t.Name, "partitions", strconv.Itoa(len(d.Partitions)), strconv.Itoa(n), remedyPartitions})
	}
	want := settings(t, d.Partitions.NumReplicas())
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if h := have[name]; h != want[name] && !(name == settingCleanup && sameList(h, want[name])) {
			ps = append(ps, Problem{t.Name, name, strconv.Quote(h), strconv.Quote(want[name]),
				fmt.Sprintf("kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s=%s", t.Name, name, want[name])})
		}
	}
	return ps
}

const remedyPartitions = "keys would move between tasks: stop all stages, then create the topics anew with one count (a new application name keeps the old ones), or go back to the old count"

func sameList(a, b string) bool {
	x, y := strings.Split(a, ","), strings.Split(b, ",")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// topicSettings asks the brokers for the settings of topics.
func topicSettings(ctx context.Context, adm *kadm.Client, topics []string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	if len(topics) == 0 {
		return out, nil
	}
	rs, err := adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	for _, r := range rs {
		if r.Err != nil {
			return nil, fmt.Errorf("describe topic %s: %w", r.Name, r.Err)
		}
		m := map[string]string{}
		for _, c := range r.Configs {
			m[c.Key] = c.MaybeValue()
		}
		out[r.Name] = m
	}
	return out, nil
}

// openAdmin opens a client for requests about topics and groups, once a broker answers. Brokers that are starting are
// waited for a little; what only another configuration mends, such as a certificate, is an error at once.
func openAdmin(ctx context.Context, k Kafka, more ...kgo.Opt) (*kadm.Client, error) {
	opts, err := k.Options()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, fmt.Errorf("open client: %w", err)
	}
	for began := time.Now(); ; {
		err := cl.Ping(ctx)
		if err == nil {
			return kadm.NewClient(cl), nil
		}
		if fatal(err) || time.Since(began) > reachTimeout || !pause(ctx, minBackoff) {
			cl.Close()
			return nil, fmt.Errorf("reach brokers %s: %w", strings.Join(k.Brokers, ", "), err)
		}
	}
}

// reachTimeout is how long a first broker is waited for.
const reachTimeout = 10 * time.Second

// adminTimeout bounds one round of questions to the brokers.
const adminTimeout = 30 * time.Second
