package streams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want fault
	}{
		{kerr.MessageTooLarge, faultRecord},
		{kerr.InvalidTimestamp, faultRecord},
		{errRow, faultRecord},
		{kerr.TopicAuthorizationFailed, faultFatal},
		{kerr.SaslAuthenticationFailed, faultFatal},
		{kerr.UnsupportedVersion, faultFatal},
		{kerr.InvalidTransactionTimeout, faultFatal},
		{kerr.InvalidReplicationFactor, faultFatal},
		{kerr.InconsistentGroupProtocol, faultFatal},
		{kerr.ProducerFenced, faultRetry},
		{kerr.UnknownTopicOrPartition, faultRetry},
		{kerr.NotEnoughReplicas, faultRetry},
		{kerr.NotCoordinator, faultRetry},
		{kerr.UnknownServerError, faultRetry},
		{&tls.CertificateVerificationError{Err: errors.New("x")}, faultFatal},
		{x509.UnknownAuthorityError{}, faultFatal},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}, faultFatal},
		{ErrTopicMissing, faultFatal},
		{ErrPartitionCount, faultFatal},
		{ErrStateMismatch, faultFatal},
		{ErrLocked, faultFatal},
		{ErrRestore, faultRetry},
		{fmt.Errorf("%w: %w", ErrRestore, ErrStateMismatch), faultFatal},
		{context.DeadlineExceeded, faultRetry},
		{context.Canceled, faultRetry},
		{kgo.ErrClientClosed, faultRetry},
		{io.EOF, faultRetry},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, faultRetry},
		{errors.New("whatever"), faultRetry},
	} {
		got, reason := classify(fmt.Errorf("do something: %w", c.err))
		if got != c.want || reason == "" {
			t.Errorf("%v: got %d (%s), want %d", c.err, got, reason, c.want)
		}
		if fatal(c.err) != (c.want == faultFatal) {
			t.Errorf("fatal(%v) is %v", c.err, fatal(c.err))
		}
	}
}
