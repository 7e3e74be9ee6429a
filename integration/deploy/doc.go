// Package deploy tests the files under deploy/ and the compose file: that they are whole, agree with the code, and keep
// what the documentation promises of them. It needs neither Docker nor Prometheus.
package deploy
