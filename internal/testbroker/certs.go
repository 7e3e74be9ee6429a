package testbroker

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// brokerRole is the name in every broker's certificate. Like Admin it is a super user.
const brokerRole = "broker"

// An authority issues the certificates of one cluster: Ed25519 throughout, but for the brokers' own keys, which are P-256
// because Kafka's reader of PEM key stores knows RSA, DSA and EC only (DefaultSslEngineFactory.PemStore).
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool

	mu      sync.Mutex
	clients map[string]*tls.Config
	serial  int64
}

func newAuthority(dir string) (*authority, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, key: key, pool: x509.NewCertPool(), clients: map[string]*tls.Config{}}
	tmpl := a.template("amoskys test authority")
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.pool.AddCert(a.cert)
	return a, os.WriteFile(a.caFile(), block("CERTIFICATE", der), 0o644)
}

func (a *authority) caFile() string { return filepath.Join(a.dir, "ca.pem") }

func (a *authority) template(name string) *x509.Certificate {
	a.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

// node issues the certificate of a broker for its host names, and returns one file with its key and certificate.
func (a *authority) node(i int, hosts ...string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	tmpl := a.template(brokerRole)
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} // brokers call brokers
	tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	tmpl.DNSNames = append(hosts, "localhost")
	cert, keyPEM, err := a.issue(tmpl, key)
	if err != nil {
		return "", fmt.Errorf("issue certificate of broker %d: %w", i, err)
	}
	path := filepath.Join(a.dir, fmt.Sprintf("broker%d.pem", i))
	// The user of the broker's container is not the user of the test.
	return path, os.WriteFile(path, append(keyPEM, cert...), 0o644)
}

// client returns the settings of a role, issuing its certificate on first use.
func (a *authority) client(role string) (*tls.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.clients[role]; c != nil {
		return c.Clone(), nil
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := a.template(role)
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, keyPEM, err := a.issue(tmpl, key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of role %s: %w", role, err)
	}
	certFile, keyFile := a.roleFiles(role)
	if err := os.WriteFile(certFile, cert, 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, keyPEM, 0o600); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, keyPEM)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	a.clients[role] = c
	return c.Clone(), nil
}

func (a *authority) files(role string) (ca, cert, key string, err error) {
	if _, err := a.client(role); err != nil {
		return "", "", "", err
	}
	cert, key = a.roleFiles(role)
	return a.caFile(), cert, key, nil
}

func (a *authority) roleFiles(role string) (cert, key string) {
	return filepath.Join(a.dir, role+".pem"), filepath.Join(a.dir, role+"-key.pem")
}

func (a *authority) issue(tmpl *x509.Certificate, key crypto.Signer) (cert, keyPEM []byte, err error) {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", k), nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// server returns the settings of a broker in this process, which asks its clients for a certificate.
func (a *authority) server() (*tls.Config, error) {
	path, err := a.node(0)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(b, b) // each reads its own block
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}, nil
}
