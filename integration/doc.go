// Package integration tests the whole: the program as people run it, against kfake and against Apache Kafka. It holds
// tests only. main_test.go has what they share; package testbroker gives the brokers and says where they come from.
package integration
