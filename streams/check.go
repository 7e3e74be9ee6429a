package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shape is what Check finds out about a stage's topics.
type shape struct {
	partitions int // of the stage's inputs, outputs and changelog
	maxRecord  int // bytes that each of its topics takes as one record
}

// Check says whether the application can run on its brokers, and returns everything that is in the way: missing topics,
// partition counts that differ or have changed, settings that are wrong. It changes nothing but the registry, where it
// registers the schemas.
func (a *App) Check(ctx context.Context) error {
	e, err := a.newEngine(ctx)
	if err != nil {
		return err
	}
	return e.check(ctx)
}

// check fills in the shapes of the stages and the group protocol.
func (e *engine) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	adm, err := openAdmin(ctx, e.app.Kafka, e.watch()...)
	if err != nil {
		return err
	}
	defer adm.Close()
	if err := e.checkBrokers(ctx, adm); err != nil {
		return err
	}
	var errs []error
	for _, s := range e.stages {
		sh, err := checkStage(ctx, adm, s.plan, s.group)
		if err != nil {
			errs = append(errs, err)
		}
		s.shape = sh
	}
	return errors.Join(errs...)
}

// control are the topics that every stage may write to.
var control = []*schemas.Topic{schemas.ActivationsTopic, schemas.LateTopic, schemas.DeadLetterTopic}

// topics are all that a stage reads and writes.
func (p *Plan) topics() []*schemas.Topic {
	return slices.Concat(p.Inputs(), p.Outputs(), []*schemas.Topic{p.Changelog()}, control)
}

func (p *Plan) topicNames() (names []string) {
	for _, t := range p.topics() {
		names = append(names, t.Name)
	}
	return names
}

// listStage asks for the topics of a stage, and names each one that is missing.
func listStage(ctx context.Context, adm *kadm.Client, p *Plan) (kadm.TopicDetails, error) {
	names := p.topicNames()
	details, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics of stage %s (%s): %w", p.Stage(), strings.Join(names, ", "), err)
	}
	var errs []error
	for _, t := range p.topics() {
		d := details[t.Name]
		if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			errs = append(errs, fmt.Errorf("list topic %s: %w", t.Name, d.Err))
		} else if len(d.Partitions) == 0 {
			errs = append(errs, fmt.Errorf("stage %s: %w: %s; create the topics: amoskys topics create", p.Stage(), ErrTopicMissing, t.Name))
		}
	}
	return details, errors.Join(errs...)
}

// lookEvery is how often a running App looks whether its topics are there.
const lookEvery = 5 * time.Second

// watchTopics returns the error that names topics of the stages which were deleted: the client of a worker would wait for
// them in silence. Brokers that do not answer are the workers' business, and one answer may come from a broker that is
// starting. It keeps one client: a new one would cost a connection, and over TLS a handshake, at each look.
func (e *engine) watchTopics(ctx context.Context) error {
	cl, err := e.client("client")
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for missed := false; pause(ctx, lookEvery); {
		err := e.topicsThere(ctx, adm)
		if !errors.Is(err, ErrTopicMissing) {
			missed = false
			continue
		}
		if missed {
			return err
		}
		missed = true
		e.log.Warn("topic is missing", "err", err)
	}
	return nil
}

func (e *engine) topicsThere(ctx context.Context, adm *kadm.Client) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var errs []error
	for _, s := range e.stages {
		_, err := listStage(ctx, adm, s.plan)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func checkStage(ctx context.Context, adm *kadm.Client, p *Plan, group string) (*shape, error) {
	details, err := listStage(ctx, adm, p)
	if err != nil {
		return nil, err
	}
	var errs []error
	sh := &shape{partitions: len(details[p.Changelog().Name].Partitions)}
	errs = append(errs, checkCounts(p, sh.partitions, details)...)
	if err := checkGroup(ctx, adm, p, group, sh.partitions); err != nil {
		errs = append(errs, err)
	}
	cfg, err := topicSettings(ctx, adm, slices.Compact(slices.Sorted(slices.Values(p.topicNames()))))
	if err != nil {
		errs = append(errs, err)
	}
	sh.maxRecord = maxRecord(cfg)
	if policy := cfg[p.Changelog().Name][settingCleanup]; err == nil && policy != "compact" {
		errs = append(errs, fmt.Errorf("stage %s: changelog %s has cleanup.policy %q, want \"compact\": state would be deleted", p.Stage(), p.Changelog().Name, policy))
	}
	return sh, errors.Join(errs...)
}

// checkCounts compares partition counts with that of the changelog, which the stage's state was written with.
func checkCounts(p *Plan, n int, details kadm.TopicDetails) (errs []error) {
	for _, t := range slices.Concat(p.Inputs(), p.Outputs()) {
		if have := len(details[t.Name].Partitions); have != n {
			errs = append(errs, fmt.Errorf("stage %s: %w: topic %s has %d partitions, changelog %s has %d: %s",
				p.Stage(), ErrPartitionCount, t.Name, have, p.Changelog().Name, n, remedyPartitions))
		}
	}
	for _, t := range control {
		if have := len(details[t.Name].Partitions); have < n {
			errs = append(errs, fmt.Errorf("stage %s: %w: topic %s has %d partitions, want at least %d: add partitions to it",
				p.Stage(), ErrPartitionCount, t.Name, have, n))
		}
	}
	return errs
}

// partitionsNote is the metadata of each committed position: the partition count that it was committed under. So a count
// that was changed on all topics at once, the changelog too, is noticed.
func partitionsNote(n int) string { return "partitions=" + strconv.Itoa(n) }

func checkGroup(ctx context.Context, adm *kadm.Client, p *Plan, group string, n int) error {
	rs, err := adm.FetchOffsets(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read positions of group %s: %w", group, err)
	}
	for _, r := range rs.Sorted() {
		was, ok := strings.CutPrefix(r.Metadata, "partitions=")
		if ok && r.Metadata != partitionsNote(n) {
			return fmt.Errorf("stage %s: %w: it has run with %s partitions, its topics have %d now: %s", p.Stage(), ErrPartitionCount, was, n, remedyPartitions)
		}
	}
	return nil
}

// batchOverhead is what a batch with one record needs besides key, value and headers: the batch header of 61 bytes and the
// record's own numbers (KIP-98), rounded up.
const batchOverhead = 128

// maxRecord is the size of record that all topics take.
func maxRecord(cfg map[string]map[string]string) int {
	least := 0
	for _, c := range cfg {
		if n, err := strconv.Atoi(c[settingMaxBytes]); err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	if least == 0 {
		least = 1 << 20 // Kafka's default
	}
	return max(1024, least-batchOverhead)
}

// checkBrokers looks at what the brokers can do. KIP-848 groups are used where all of them have it, the classic protocol
// otherwise; both with the range assignor, which alone keeps equal partition numbers of several topics together.
func (e *engine) checkBrokers(ctx context.Context, adm *kadm.Client) error {
	vs, err := adm.ApiVersions(ctx)
	if err != nil {
		return fmt.Errorf("ask brokers for their versions: %w", err)
	}
	reached := 0
	for _, v := range vs.Sorted() {
		if v.Err != nil {
			e.log.Warn("broker does not tell its version", "broker", v.NodeID, "err", v.Err)
			continue
		}
		reached++
		if n, _ := v.KeyMaxVersion(int16(kmsg.TxnOffsetCommit)); n < 3 {
			return fmt.Errorf("broker %d (%s) cannot fence the positions of a transaction (KIP-447): want Kafka 2.5 or later, 4.3 at best", v.NodeID, v.VersionGuess())
		}
		if n, ok := v.KeyMaxVersion(int16(kmsg.ConsumerGroupHeartbeat)); !ok || n < 1 {
			e.classic = true
			e.log.Warn("broker has no consumer groups of KIP-848: classic groups with the range assignor are used, and all tasks pause at each change of the group",
				"broker", v.NodeID, "version", v.VersionGuess(), "want", "Kafka 4.3 or later")
		}
		if n, _ := v.KeyMaxVersion(int16(kmsg.EndTxn)); n < 5 {
			e.log.Warn("broker has no transactions of version 2 (KIP-890)", "broker", v.NodeID, "version", v.VersionGuess(), "want", "Kafka 4.0 or later")
		}
	}
	if reached == 0 {
		return errors.New("no broker can be reached")
	}
	return nil
}
