package streams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	// ErrTopicMissing is returned by Check and Run when a topic that a stage needs does not exist.
	ErrTopicMissing = errors.New("topic does not exist")
	// ErrPartitionCount is returned by Check and Run when the topics of a stage do not have one partition count, or not
	// the one that the stage has run with so far. Keys would move between tasks, away from their state.
	ErrPartitionCount = errors.New("partition counts differ")
	// ErrStateMismatch is returned by Run when the positions that are kept with the state of a task are not those of the
	// consumer group, and stay so: the changelog and the group do not belong together any more.
	ErrStateMismatch = errors.New("state and consumer group are at different positions")
	// ErrRestore is logged, and ends a worker's session, when a task could not be restored in RestoreTimeout.
	ErrRestore = errors.New("task is not restored in time")
	// ErrSnapshot is returned by ReadSnapshot for a file that is no complete, undamaged snapshot.
	ErrSnapshot = errors.New("not a complete snapshot")
	// ErrLocked is returned by Run when no transactional id is free in LockDir.
	ErrLocked = errors.New("no free worker slot")

	// errRow marks a state row that cannot be written: the fault of the input record that made it so.
	errRow = errors.New("state row cannot be written")
)

// fault says what is to be done about an error of a broker or of the way to it.
type fault int

const (
	// faultRetry: time, another session or another broker may mend it.
	faultRetry fault = iota
	// faultRecord: the record itself will never be taken.
	faultRecord
	// faultFatal: nothing but a change of the configuration mends it.
	faultFatal
)

// classify is the one place that judges broker errors. What it does not know is retried: an engine that stops at the first
// unknown code is blind, and each retry is logged and counted. The reason is for people.
func classify(err error) (fault, string) {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return classifyCode(ke)
	}
	var (
		cert      *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		network   net.Error
	)
	switch {
	case errors.As(err, &cert), errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		return faultFatal, "the broker's certificate is not accepted: check kafka.tls"
	case errors.Is(err, ErrTopicMissing), errors.Is(err, ErrPartitionCount), errors.Is(err, ErrStateMismatch), errors.Is(err, ErrLocked):
		return faultFatal, "the message says what to change"
	case errors.Is(err, errRow):
		return faultRecord, "what the record made of the state cannot be written"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return faultRetry, "the wait for an answer ended"
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting):
		return faultRetry, "the session was given up"
	case errors.Is(err, ErrRestore):
		return faultRetry, "somebody may still hold what the task waits for"
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.As(err, &network):
		return faultRetry, "the broker cannot be reached, or closed the connection"
	}
	return faultRetry, "not known to be final"
}

func classifyCode(ke *kerr.Error) (fault, string) {
	switch ke {
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return faultRecord, "the record is larger than the topic takes"
	case kerr.InvalidRecord, kerr.InvalidTimestamp:
		return faultRecord, "the topic does not take such a record"

	case kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed:
		return faultFatal, "an ACL is missing"
	case kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState:
		return faultFatal, "the broker does not accept the credentials: check kafka.sasl"
	case kerr.UnsupportedVersion:
		return faultFatal, "the broker does not have this request"
	case kerr.InvalidTransactionTimeout:
		return faultFatal, "the transaction timeout is over the broker's transaction.max.timeout.ms"
	case kerr.InvalidReplicationFactor, kerr.InvalidPartitions, kerr.InvalidConfig, kerr.InvalidTopicException, kerr.PolicyViolation:
		return faultFatal, "the broker does not accept the topic's settings"
	case kerr.InconsistentGroupProtocol, kerr.InvalidGroupID, kerr.InvalidSessionTimeout, kerr.UnsupportedAssignor, kerr.GroupMaxSizeReached:
		return faultFatal, "the group does not accept the member"

	case kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.UnknownProducerID, kerr.InvalidTxnState,
		kerr.OutOfOrderSequenceNumber, kerr.TransactionCoordinatorFenced, kerr.TransactionAbortable:
		return faultRetry, "the transaction is over: another worker has its id, or it took too long"
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
		return faultRetry, "the topic is not there, or not known to all brokers yet"
	case kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend:
		return faultRetry, "too few brokers are up"
	}
	if ke.Retriable {
		return faultRetry, "the broker says that it passes"
	}
	return faultRetry, "not known to be final"
}

// fatal says whether nothing but a change of the configuration mends the error.
func fatal(err error) bool {
	f, _ := classify(err)
	return f == faultFatal
}
